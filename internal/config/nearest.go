package config

import "strings"

// nearest is the known name that a user most likely meant, "" if none is near
// enough to be worth showing. It takes keys and variables.
func nearest(name string, known []string) string {
	bare := strings.TrimPrefix(name, prefix)
	best, bestDistance := "", len(bare)/3+1
	for _, candidate := range known {
		distance := editDistance(name, candidate)
		if strings.HasSuffix(candidate, "."+bare) || strings.HasSuffix(candidate, "_"+bare) {
			distance = 1 // the group was left out
		}
		if distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// editDistance is the number of bytes to insert, delete or replace to turn a
// into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // distances of a[:i] to every b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
