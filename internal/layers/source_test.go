package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFile = 500 // lines
	maxFunc = 80  // lines
)

// TestSource holds the code outside of tests to its sizes, and every package
// and exported name to a comment.
func TestSource(t *testing.T) {
	documented := map[string]bool{} // by directory
	for _, path := range files(t) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		dir := filepath.Dir(path)
		documented[dir] = documented[dir] || f.Doc != nil
		if n := fset.File(f.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s has %d lines, at most %d", path, n, maxFile)
		}
		for _, decl := range f.Decls {
			checkDecl(t, fset, path, f.Name.Name, decl)
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("the package in %s has no comment", dir)
		}
	}
}

func checkDecl(t *testing.T, fset *token.FileSet, path, pkgName string, decl ast.Decl) {
	t.Helper()
	undocumented := func(pos token.Pos, name string) {
		// Nobody can import main.
		if pkgName != "main" && ast.IsExported(name) {
			t.Errorf("%s:%d: %s has no comment", path, fset.Position(pos).Line, name)
		}
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if n := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1; n > maxFunc {
			t.Errorf("%s:%d: %s has %d lines, at most %d", path, fset.Position(d.Pos()).Line, name, n, maxFunc)
		}
		if d.Recv == nil && name == "init" {
			t.Errorf("%s:%d: init runs unasked and can't fail: do it in a constructor", path, fset.Position(d.Pos()).Line)
		}
		// What these do is said by the packages errors and fmt.
		known := d.Recv != nil && (name == "Error" || name == "Unwrap" || name == "String")
		if d.Doc == nil && !known && ast.IsExported(receiver(d)) {
			undocumented(d.Pos(), name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && s.Doc == nil {
					undocumented(s.Pos(), s.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil {
					undocumented(s.Pos(), s.Names[0].Name)
				}
			}
		}
	}
}

// receiver is the name of a method's type; that of a function itself.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// TestNoPathsOfAMachine finds what was pasted from where it was built.
func TestNoPathsOfAMachine(t *testing.T) {
	// In parts, or this file would be found.
	bad := []string{"/" + "work/", "/" + "root/"}
	for _, path := range files(t) {
		text := read(t, path)
		if strings.ContainsRune(text, 0) {
			continue // no text
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			for _, b := range bad {
				if strings.Contains(line, b) {
					t.Errorf("%s:%d: has a path of a machine: %s", path, n, b)
				}
			}
		}
	}
}
