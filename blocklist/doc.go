// Package blocklist decides whether a name may be looked up. Lists give facts, policies give verdicts.
//
// Load resolves the sources of each category to files, unpacks what is compressed, finds out the format of each, and
// reads them a line at a time. Each file becomes a List, which counts by reason every line that lists nothing; a
// file that cannot be read to its end gives no List at all. CheckFile does the same for one file and tells all
// that is wrong with it. The names of all lists go through a
// Builder into one Matcher, where each distinct name stands once with the set of lists that hold it.
//
// Compile turns the operator's policies into tables over that matcher: from each set of lists to the rules that it
// makes candidates. Domains that stand in rules go into a second, small matcher, so that a change of policy leaves the
// big one as it is. Policy.Decide picks the policy by the client's address, hashes the name label by label from
// the right, each parent's hash leading to the child's, probes both matchers at each label, and reads the table at each
// hit; the first rule in order that matches decides. Policy.DecideFacts does the same for the alias targets of an
// answer. Neither allocates. Policy.Explain tells the same story in words, down to the line of the list.
//
// An entry covers the name itself, the names below, or both (Scope). Within one list the most specific entry counts
// alone, and an exception entry takes a name out of its own list and no other. A name on no list is never
// blocked: hashes only rule names out, and every yes is confirmed octet by octet.
//
// Names are wire names throughout: lower-case, uncompressed, ended by the root, at most 255 octets (RFC 1035 §3.1). A
// dot that is part of a label stays part of it. Text becomes a wire name in AppendWireName, and shows again in
// NameString. List, Matcher, Lists and Policy are immutable once built, and safe for concurrent use.
package blocklist
