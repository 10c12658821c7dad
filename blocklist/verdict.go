package blocklist

import (
	"fmt"
	"strings"
)

// Verdict says whether a lookup may go.
type Verdict uint8

// The two verdicts. The zero value is Allow.
const (
	Allow Verdict = iota
	Block
)

// String returns "allow" or "block".
func (v Verdict) String() string {
	if v == Block {
		return "block"
	}
	return "allow"
}

// Action is what a rule does with the lookups that it matches.
type Action uint8

// The actions of a rule. Observe records that the rule would have blocked, and reading goes on.
const (
	ActionAllow Action = iota
	ActionBlock
	ActionObserve
)

var actionNames = [...]string{"allow", "block", "observe"}

// String returns "allow", "block" or "observe".
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ParseAction reads what Action.String writes.
func ParseAction(text string) (Action, error) {
	for i, name := range actionNames {
		if text == name {
			return Action(i), nil
		}
	}
	return 0, fmt.Errorf("action %q is none of %s", text, strings.Join(actionNames[:], ", "))
}

// Scope says which names an entry covers: bits, so that both may be set.
type Scope uint8

// The bits of a Scope. "example.com" is Self|Below, "=example.com" is Self, "*.example.com" is Below.
const (
	Self  Scope = 1 << iota // the name itself
	Below                   // every name below it
)

// MatchedOn says which of a lookup's names the matching entry covers.
type MatchedOn uint8

// What an entry may match on. OnNothing goes with a verdict that needed no entry: a default, or a rule of types alone.
const (
	OnNothing MatchedOn = iota
	OnName
	OnAlias
	OnAddress
)

var matchedOnNames = [...]string{"", "name", "alias", "address"}

// String returns "", "name", "alias" or "address".
func (m MatchedOn) String() string {
	if int(m) < len(matchedOnNames) {
		return matchedOnNames[m]
	}
	return fmt.Sprintf("matched-on(%d)", uint8(m))
}

// Answer is what a blocked client gets.
type Answer uint8

// The answers to a blocked lookup. AnswerDefault leaves the choice to the sinkhole's own setting.
const (
	AnswerDefault  Answer = iota
	AnswerNXDOMAIN        // the name does not exist
	AnswerNodata          // the name exists, the type does not
	AnswerNull            // 0.0.0.0 and ::
	AnswerAddress         // the configured addresses
	AnswerRefused         // rcode REFUSED
	AnswerDrop            // no answer is sent
)

var answerNames = [...]string{"", "nxdomain", "nodata", "null", "address", "refused", "drop"}

// String returns the word that ParseAnswer reads, "" for AnswerDefault.
func (a Answer) String() string {
	if int(a) < len(answerNames) {
		return answerNames[a]
	}
	return fmt.Sprintf("answer(%d)", uint8(a))
}

// ParseAnswer reads the configuration's word for an answer; "" is AnswerDefault.
func ParseAnswer(text string) (Answer, error) {
	for i, name := range answerNames {
		if text == name {
			return Answer(i), nil
		}
	}
	return 0, fmt.Errorf("answer %q is none of %s", text, strings.Join(answerNames[1:], ", "))
}
