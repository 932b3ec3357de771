package exec

// For tests alone.
var Registered = registered
