package sim_test

import (
	"fmt"

	"toolhand/internal/sim"
)

// A test drives the agent's side of a session, and looks at what came of it.
func ExampleServer() {
	api := sim.New(sim.Options{})
	defer api.Close()
	session := api.Session("sesn_1")
	id := session.CallTool("greet", `{"name":"Ada"}`)
	session.RequireAction()
	// A worker would be asked for its answer here; another client is as good.
	if err := session.Answer(id, "Hello, Ada"); err != nil {
		fmt.Println(err)
	}
	result, ok := session.Result(id)
	fmt.Println(result.Text(), ok, session.Status(), len(session.Open()))
	// Output: Hello, Ada true running 0
}
