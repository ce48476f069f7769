package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// membership notes what it is asked for; a witness called "full" is refused.
type membership struct{ asked []string }

func (m *membership) AddMember(_ context.Context, name, peer string) error {
	m.asked = append(m.asked, "add "+name+" "+peer)
	if name == "full" {
		return &witness.Error{Code: witness.CodeConflict, Msg: "another change is under way"}
	}
	return nil
}

func (m *membership) RemoveMember(_ context.Context, name string) error {
	m.asked = append(m.asked, "remove "+name)
	return nil
}

func (m *membership) TransferLeadership(_ context.Context, name string) error {
	m.asked = append(m.asked, "lead "+name)
	return errors.New("not a domain error")
}

func TestMembers(t *testing.T) {
	d := newDemo(t)
	m := &membership{}
	type body struct {
		Leader  string
		Members []httpapi.NodeMember
	}
	want[httpapi.Error](d, http.StatusNotFound, "DELETE", "/v1/members/w3", "")
	d.api = httpapi.New(httpapi.Options{Backend: d.mem, Membership: m})
	if got := call[body](d, "/v1/members"); got.Leader != "w1" || len(got.Members) != 3 {
		t.Errorf("members: %+v", got)
	}
	want[body](d, http.StatusOK, "POST", "/v1/members", `{"name":"w4","peer":"10.1.0.4:7001"}`)
	want[body](d, http.StatusOK, "DELETE", "/v1/members/w3", "")
	want[httpapi.Error](d, http.StatusConflict, "POST", "/v1/members", `{"name":"full","peer":"10.1.0.4:7001"}`)
	want[httpapi.Error](d, http.StatusInternalServerError, "POST", "/v1/leader", `{"to":"w2"}`)
	want[httpapi.Error](d, http.StatusBadRequest, "POST", "/v1/members", `{"name":"w4"}`)
	if asked := []string{"add w4 10.1.0.4:7001", "remove w3", "add full 10.1.0.4:7001", "lead w2"}; !reflect.DeepEqual(m.asked, asked) {
		t.Errorf("asked for %q", m.asked)
	}
}
