package registry_test

import (
	"fmt"
	"os"
	"path/filepath"

	"toolhand/internal/registry"
	"toolhand/internal/tools/proctree"
)

// A folder of manifests becomes a set of tools; what is wrong in it is told with its
// place.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "tools.d-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	procs, err := proctree.New(proctree.Options{})
	if err != nil {
		panic(err)
	}
	defer procs.Close()
	write := func(deadline string) {
		manifest := "name: date\ndescription: Tell the time.\ninput_schema: { type: object }\ndeadline: " + deadline +
			"\nhandler:\n  exec: { command: [date] }\n"
		if err := os.WriteFile(filepath.Join(dir, "date.yaml"), []byte(manifest), 0o600); err != nil {
			panic(err)
		}
	}
	write("5s")
	set, err := registry.Load(registry.Options{Dir: dir, Dependencies: registry.Dependencies{Processes: procs}})
	if err != nil {
		panic(err)
	}
	tool, ok := set.Lookup("date")
	fmt.Println(tool.Name, tool.Kind, tool.Deadline, ok)

	write("soon")
	_, err = registry.Load(registry.Options{Dir: dir, Dependencies: registry.Dependencies{Processes: procs}})
	fmt.Println(filepath.Base(fmt.Sprint(err)))
	// Output:
	// date exec 5s true
	// date.yaml:4:11: deadline: expected a duration above zero with its unit such as 120s, found string "soon"
}
