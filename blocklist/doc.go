// Package blocklist decides whether a name may be looked up. Lists give facts, policies give verdicts.
//
// The way of a list from its origin to a verdict:
//
//	sources.go, source.go   what the operator wrote, and the files that a path, a directory or a glob leads to
//	fetch*.go, signature.go remote lists: HTTP and zone transfers, when they are asked, and what proves them
//	store*.go               the folder of copies: of each list the version in force, the one before, the one held
//	load.go, intake.go      which version of each list is taken, and from where
//	read.go, format*.go     a file's text, a line at a time, to entries and counts; zone.go, unpack*.go, names.go help
//	sort.go, merge.go       entries in the order of their names' hashes, each name once; intern.go numbers what is said
//	compose.go, guard.go    what stays and what is new side by side, and whether the difference may come into force
//	code.go, huffman.go, lay.go  the names' own code, and their layout
//	matcher.go, compiled.go the matcher, and the file that it is mapped from at the next start; plain.go, recent.go make
//	                        its hits quick
//	commit.go               what is noted on disk once the lists are in force
//	policy.go, schedule*.go what the operator wrote of policies, and when rules are in force
//	compile.go, tabulate.go policies as tables over the matcher; reach.go rules that nothing would come to
//	clients.go, exceptions.go  whom a policy is for by what is known now, and who may pass for a time
//	decide.go, facts.go     one lookup in the tables, and what an answer leads to; suffixes.go, networks.go look both up
//	canary.go, safesearch.go  names that this package knows itself
//	explain.go, lists.go    the same in words, down to the line of the list
//
// Load reads the sources of each category. A list that has not changed is not read again: its entries come from the
// lists in force, or at a start from the compiled form. A list that cannot be read, or that the change guard holds,
// stays as it was. What is read is sorted in runs of bounded size, so that a load takes the same memory for a million
// names as for five. CheckFile reads one file and tells all that is wrong with it.
//
// Compile turns the operator's policies, as they hold at a moment, into tables over the matcher: from each set of lists
// to the rules that it makes candidates. Domains that stand in rules go into a second, small matcher, so that a change of
// policy leaves the big one as it is. Policy.With lays over that what changes by the minute, the hosts' addresses and the
// exceptions, and compiles nothing. Policy.Decide picks the policy by the client, hashes the name label by label from
// the right, each parent's hash leading to the child's, probes both matchers at each label that has names of so many, and
// reads the table at each hit; the first rule in order that matches decides. Policy.DecideFacts does the same for what
// an answer leads to: aliases, targets of records, and, in networks, addresses. Both are functions of the Policy and of
// what is asked, by whom and when, and of nothing else; neither allocates.
//
// An entry covers the name itself, the names below, or both (Scope), for all types of question or for some. Within one
// list the most specific entry counts alone, and an exception entry takes a name out of its own list and no other. A
// name on no list is never blocked: hashes only rule names out, and every yes is confirmed octet by octet.
//
// Names are wire names throughout: lower-case, uncompressed, ended by the root, at most 255 octets (RFC 1035 §3.1). A
// dot that is part of a label stays part of it. Text becomes a wire name in AppendWireName, and shows again in
// NameString. List, Matcher, Lists, Policy and Schedule are immutable once built, and safe for concurrent use.
package blocklist
