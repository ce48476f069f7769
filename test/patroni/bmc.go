package patroni

// BMC is a stub until the simulated device exists.
type BMC struct{}
