package subjects

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestDocumentedLimits compares the table of limits in docs/protocol.md with the code.
func TestDocumentedLimits(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	_, table, _ := strings.Cut(string(page), "\n| limit of | |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \| (.*) \|$`).FindAllStringSubmatch(table, -1) {
		rows[row[1]] = row[2]
	}
	number := func(n int) string {
		text := strconv.Itoa(n)
		for at := len(text) - 3; at > 0; at -= 3 {
			text = text[:at] + "," + text[at:]
		}
		return text
	}
	for row, limits := range map[string][]int{
		"`scope`":                           {MaxScopeLen, MaxScopeLevels},
		"`id` of a credential":              {MaxIDLen},
		"names in `data`":                   {MaxDataNames, MaxDataNameLen},
		"values":                            {MaxDataLen},
		"`tags`":                            {MaxTags, MaxTagKeyLen, MaxTagValueLen},
		"`description`":                     {MaxDescriptionLen},
		"`rotation_days`":                   {MaxRotationDays},
		"`items` of a batch or job":         {MaxBatchItems},
		"`concurrency` of a batch":          {MaxBatchItems},
		"`cursor`":                          {MaxCursorLen},
		"`request_id`":                      {MaxRequestIDLen},
		"ID of a job; name of a submission": {MaxJobIDLen, MaxSubmissionIDLen},
		"a message":                         {maxMapFields},
	} {
		for _, limit := range limits {
			if !regexp.MustCompile(`(^|[^0-9,])` + number(limit) + `([^0-9,]|, |$)`).MatchString(rows[row]) {
				t.Errorf("the limit %s is not in the row of %s: %q", number(limit), row, rows[row])
			}
		}
	}
}

// TestDocumentedError compares the error in docs/protocol.md with the one that a worker sends.
func TestDocumentedError(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	told := Errorf(NotFound, "no such credential in this scope")
	told.Scope, told.ID = "org:acme", "db"
	text, err := ToJSON(Append(nil, told))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(string(text), "}")
	if !strings.Contains(string(page), want) || !strings.Contains(string(page), fmt.Sprintf("`%s: %s`", HeaderErrorCode, told.Code.NumberText())) {
		t.Errorf("the error %s is not in docs/protocol.md", text)
	}
}

// TestDocumentedCommands: each command for tenants has a row in docs/protocol.md, besides the
// generated tables, that says what goes in and what comes out.
func TestDocumentedCommands(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n| command | request | reply |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var named strings.Builder
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		named.WriteString(cell)
	}
	for _, command := range Commands {
		if !strings.Contains(named.String(), "`"+string(command)+"`") {
			t.Errorf("%s has no row in the table of commands", command)
		}
	}
}
