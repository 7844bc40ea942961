package mask

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file")

// listed are the lines of a file of testdata, in their columns.
func listed(t *testing.T, name string) (lines [][][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("# ")) {
			lines = append(lines, bytes.Split(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\t'}))
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s has no lines", name)
	}
	return lines
}

// TestSecrets: commands with secrets in the many ways in which programs take
// them, and what is shown of each.
func TestSecrets(t *testing.T) {
	const golden = "testdata/secrets.golden"
	var got bytes.Buffer
	for _, argv := range listed(t, "secrets.tsv") {
		in := string(bytes.Join(argv, []byte{'\t'}))
		if !strings.Contains(in, "s3cr3tvalue") {
			t.Errorf("%s: no secret", in)
		}
		Args(argv)
		out := bytes.Join(argv, []byte{'\t'})
		if bytes.Contains(out, []byte("s3cr3tvalue")) {
			t.Errorf("shown: %s", out)
		}
		got.Write(append(out, '\n'))
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	if len(g) != len(w) {
		t.Fatalf("%d commands, but %s has %d", len(g)-1, golden, len(w)-1)
	}
	for i := range g {
		if g[i] != w[i] {
			t.Errorf(" got %s\nwant %s", g[i], w[i])
		}
	}
}

// TestPublic: what looks like a secret to a careless reader, and is none.
func TestPublic(t *testing.T) {
	for _, argv := range listed(t, "public.tsv") {
		want := string(bytes.Join(argv[1:], []byte{'\t'}))
		Args(argv[1:])
		if got := string(bytes.Join(argv[1:], []byte{'\t'})); got != want {
			t.Errorf(" got %s\nwant %s", got, want)
		}
	}
}

// TestTable: no tool is twice in the table, of which the second would be the only one.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, tool := range table {
		for name := range strings.SplitSeq(tool.names, ",") {
			if seen[name] {
				t.Errorf("%s is in the table twice", name)
			}
			seen[name] = true
		}
		for i := range len(tool.operands) {
			c := tool.operands[i]
			if _, ok := operandForms[c]; !ok && c != 'n' && (c != '+' || i != len(tool.operands)-1) {
				t.Errorf("%s: operand %c", tool.names, c)
			}
		}
	}
}

// TestDepth: what lies too deep is hidden as a whole.
func TestDepth(t *testing.T) {
	text := "mysql -phunter2 db"
	for range 3 * maxDepth {
		text = "sh -c '" + strings.ReplaceAll(text, "'", "'\\''") + "'"
		if len(text) > 1<<16 {
			break
		}
		argv := [][]byte{[]byte("x"), []byte(text)}
		Args(argv)
		if bytes.Contains(argv[1], []byte("hunter2")) {
			t.Fatalf("shown: %s", argv[1])
		}
	}
}
