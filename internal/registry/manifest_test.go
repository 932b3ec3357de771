package registry

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"toolhand/internal/document"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBrokenManifests loads each archive's files as a folder; the file want
// holds all that Load says. An empty want means that the folder is good.
func TestBrokenManifests(t *testing.T) {
	paths, err := filepath.Glob("testdata/manifests/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			want := -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				put(t, dir, f.Name, string(f.Data))
			}
			if want < 0 {
				t.Fatal("no file want")
			}
			got := ""
			if _, err := Load(Options{Dir: dir, format: recorded()}); err != nil {
				var all *document.Errors
				if !errors.As(err, &all) || len(all.Problems) == 0 {
					t.Fatalf("not *Errors: %v", err)
				}
				got = strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "") + "\n"
				got = strings.ReplaceAll(got, dir, "DIR")
			}
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(archive.Files[want].Data) {
				t.Errorf("got\n%swant\n%s", got, archive.Files[want].Data)
			}
		})
	}
}

// What an archive can't hold well.
func TestOddManifestBytes(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":             {"", "a.yaml:1:1: expected the keys name, description"},
		"spaces":            {" \n\n", "a.yaml:1:1: expected the keys name, description"},
		"comments":          {"# nothing\n", "a.yaml:1:1: expected the keys name, description"},
		"not UTF-8":         {"name: a\ndescription: \xff\n", "a.yaml:2:14: the text is not valid UTF-8"},
		"too large":         {strings.Repeat("#", document.MaxFile+1), "a.yaml: expected at most 1048576 bytes, found more"},
		"deep brackets":     {"name: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000), "expected at most 100 levels of nesting, found more"},
		"deep list":         {strings.Repeat("- ", 10_000), "expected at most 100 levels of nesting, found more"},
		"blank description": {"description: \"  \"\n", "description: expected what the tool does"},
		"long name":         {"name: " + strings.Repeat("n", 129) + "\n", "found string \"nnn"},
		"many keys":         {strings.Repeat("k: v\n", 100_000), "expected at most 50000 values in all, found more"},
		"alias bomb":        {"name: a\ninput_schema:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n  e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n  f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "expected at most 50000 values in all, found more"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Options{Dir: write(t, map[string]string{"a.yaml": tc.text}), format: recorded()})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestUnreadableManifest(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": manifestOf("a")})
	path := filepath.Join(dir, "a.yaml")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	want := "a.yaml: permission denied: expected a manifest that can be read"
	if os.Geteuid() == 0 {
		// Root reads everything; a link to nowhere can't be read by anybody.
		want = "a.yaml: no such file or directory: expected a manifest that can be read"
		if err := errors.Join(os.Remove(path), os.Symlink("nowhere", path)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(Options{Dir: dir, format: recorded()}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
