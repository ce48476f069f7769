package witness

// Preview says what would become of a request if it were made now, rule by
// rule, and changes nothing. It returns an error for a request that would not
// be taken at all.
func Preview(v View, r Request) (Verdict, *Error) {
	if err := r.validate(v.State); err != nil {
		return Verdict{}, err
	}
	r.ID, r.Status, r.At = 0, StatusPending, v.Now
	r.Approvals, r.Off = nil, ""
	return JudgeRequest(v, &r), nil
}

// Overridable are the rules that a request for a power action may override by
// name. What is not here protects the safety rules themselves.
var Overridable = []string{"fence.blast-radius", "fence.holder", "fence.rate", "reboot.held-off"}
