package main

import "strings"

// nearest returns the word that text was most likely meant to be, or "" if none is near.
func nearest(text string, words []string) string {
	const longest = 64 // of a name that is worth a guess
	fold := func(s string) []rune { return []rune(strings.ReplaceAll(strings.ToLower(s), "_", "-")) }
	if len(text) > longest {
		return ""
	}
	best, least := "", max(1, len(text)/3)+1
	folded := fold(text)
	for _, word := range words {
		if len(word) > longest {
			continue
		}
		w := fold(word)
		if apart := len(w) - len(folded); apart >= least || -apart >= least {
			continue // so many letters are there to insert or delete
		}
		if d := distance(folded, w); d < least && d < len(word) {
			best, least = word, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
