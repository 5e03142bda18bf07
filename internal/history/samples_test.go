package history

import (
	"fmt"
	"time"
)

// Histories for tests: times are milliseconds, and the key is k.

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func read(session, value string, begin, end int) Op {
	return Op{Session: session, Key: "k", Kind: Read, Value: value, Begin: ms(begin), End: ms(end), Revisioned: true}
}

func write(value string, begin, end int) Op {
	o := Op{Session: "w", Key: "k", Kind: Write, Value: value, Begin: ms(begin), End: ms(end), Revisioned: true}
	if value == "" {
		o.Kind = Delete
	}
	return o
}

func unknown(o Op) Op { o.Outcome = Unknown; return o }
func refused(o Op) Op { o.Outcome = Refused; return o }
func fresh(o Op) Op   { o.Fresh = true; return o }
func cached(o Op) Op  { o.FromCache = true; return o }
func plain(o Op) Op   { o.Revisioned = false; return o }

// exact is a log with the exact time of each value.
func exact(values ...any) (commits []Commit) {
	for i := 0; i < len(values); i += 2 {
		commits = append(commits, Commit{Key: "k", Value: fmt.Sprint(values[i]), At: ms(values[i+1].(int))})
	}
	return commits
}

// rounds is a long legal history of one key: a writer, and readers that read
// without pause, at all phases of the writes. Every third write deletes.
func rounds(key string, n int) (ops []Op) {
	const length = 1000
	value := ""
	for i := range n {
		begin := time.Duration(i * length)
		o := Op{Session: "w", Key: key, Kind: Write, Value: fmt.Sprint(i), Begin: begin + 300, End: begin + 500}
		if i%3 == 2 {
			o.Kind, o.Value = Delete, ""
		}
		ops = append(ops, o)
		for r := range 8 {
			saw := value
			if r > 4 {
				saw = o.Value
			}
			// The end of each reader overlaps the begin of the next. The fifth
			// and the sixth also overlap the write.
			ops = append(ops, Op{Session: fmt.Sprint("r", r), Key: key, Value: saw,
				Begin: begin + time.Duration(r*100), End: begin + time.Duration(r*100+190), Revisioned: true})
		}
		value = o.Value
	}
	return ops
}
