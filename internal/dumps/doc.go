// Package dumps keeps the memory of this process out of core dumps, since it holds keys and, for
// moments, values.
package dumps
