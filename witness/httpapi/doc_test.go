package httpapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// docs/http-api.md names every path and every code with its status.
func TestDocumentation(t *testing.T) {
	raw, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "`…/role/{role}/{member}`", "`GET /v1/clusters/{cluster}/role/{role}/{member}`")
	d := newDemo(t)
	_, spec := d.call("GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(spec), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Paths) < 20 {
		t.Errorf("only %d paths", len(doc.Paths))
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			entry := strings.ToUpper(method) + " " + path
			if !strings.Contains(text, "`"+entry+"`") && !strings.Contains(text, "`"+entry+"?") {
				t.Errorf("docs/http-api.md does not tell of %s", entry)
			}
		}
	}
	for _, code := range []witness.Code{
		witness.CodeInvalid, witness.CodeNotFound, witness.CodeConflict, witness.CodeRefused, witness.CodeGuarded, witness.CodeNoQuorum,
		witness.CodeUnproven, witness.CodeExhausted, witness.CodeInternal,
	} {
		if row := fmt.Sprintf("| `%s` | %d |", code, httpapi.Status(code)); !strings.Contains(text, row) {
			t.Errorf("docs/http-api.md has no row %q", row)
		}
	}
}
