package manager

// HeaderOf is what a record is bound to, for tests that write one by hand.
var HeaderOf = header
