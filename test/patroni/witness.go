package patroni

const primaryName = "primary.demo.db.test."

type Witnesses struct{}

func (w *Witnesses) DNS() []string { return nil }
