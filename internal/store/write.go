package store

import "errors"

// ErrOvertaken reports that the record to replace has changed meanwhile.
// Drivers return it only to Replace and Remove.
var ErrOvertaken = errors.New("another write was faster")

// Replace carries out a Put. read returns the current record, nil if there is
// none, and its place in the backend. write puts next in that place and in no
// other; next is a copy that it may change. If somebody has changed the place
// since, write must have no effect and return ErrOvertaken. Then Replace reads
// again.
func Replace[P any](rec *Record, pre Precondition,
	read func() (current *Record, at P, err error),
	write func(next *Record, at P) (version string, err error),
) (version string, err error) {
	for {
		current, at, err := read()
		if err != nil {
			return "", err
		}
		next := *rec
		switch {
		case IsRepeat(rec, current):
			return pre.Repeated(current)
		case current.sound():
			next.Created = current.Created
		}
		if err := pre.Check(current); err != nil {
			return "", err
		}
		version, err := write(&next, at)
		if !errors.Is(err, ErrOvertaken) {
			return version, err
		}
	}
}

// Remove carries out a Delete. read is as in Replace; remove deletes the record
// in that place.
func Remove[P any](pre Precondition,
	read func() (current *Record, at P, err error),
	remove func(at P) error,
) error {
	for {
		current, at, err := read()
		if err != nil {
			return err
		}
		if err := pre.Check(current); err != nil {
			return err
		}
		if current == nil {
			return ErrNotFound
		}
		if err := remove(at); !errors.Is(err, ErrOvertaken) {
			return err
		}
	}
}

// sound reports whether there is a record that can be read.
func (r *Record) sound() bool { return r != nil && r.Damaged == "" }

// IsRepeat reports whether an earlier try of the write of rec made current,
// which may be nil. Records written by others than workers have no write id.
func IsRepeat(rec, current *Record) bool {
	return current.sound() && rec.WriteID != "" && rec.WriteID == current.WriteID
}
