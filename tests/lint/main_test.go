package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLint_FindsEachFault runs the program as make check does, on a package
// with one of each fault, and compares what it finds with what is marked.
func TestLint_FindsEachFault(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "lint")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	want, err := marked(filepath.Join("testdata", "faults", "faults.go"))
	if err != nil {
		t.Fatal(err)
	}
	// The faults are the point of the package: a non-zero exit says nothing.
	out, _ := exec.Command("go", "vet", "-json", "-vettool="+bin, "./testdata/faults").CombinedOutput()
	got, err := found(string(out))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("found\n  %s\nwant\n  %s\noutput:\n%s", strings.Join(got, "\n  "), strings.Join(want, "\n  "), out)
	}
}

// finds is the mark of a line with a fault, and names the checks that find it.
var finds = regexp.MustCompile(`finds ([A-Za-z0-9 ]+)`)

// marked is "LINE CHECK" for each mark in the file, in order.
func marked(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	var marks []string
	for i, line := range strings.Split(string(text), "\n") {
		if m := finds.FindStringSubmatch(line); m != nil {
			for _, check := range strings.Fields(m[1]) {
				marks = append(marks, fmt.Sprintf("%04d %s", i+1, check))
			}
		}
	}
	return marks, nil
}

// found is "LINE CHECK" for each finding in the output of go vet -json: lines
// with a number sign, and a JSON object per package.
func found(output string) ([]string, error) {
	var report strings.Builder
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "#") {
			report.WriteString(line)
		}
	}
	var all []string
	for d := json.NewDecoder(strings.NewReader(report.String())); ; {
		var packages map[string]map[string][]struct{ Posn string }
		if err := d.Decode(&packages); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		for _, checks := range packages {
			for check, findings := range checks {
				for _, f := range findings {
					var line int
					if _, err := fmt.Sscanf(f.Posn[strings.Index(f.Posn, ".go:")+4:], "%d", &line); err != nil {
						return nil, fmt.Errorf("read position %q: %w", f.Posn, err)
					}
					all = append(all, fmt.Sprintf("%04d %s", line, check))
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
