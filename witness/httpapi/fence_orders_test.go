package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

func TestDryRunChangesNothing(t *testing.T) {
	d := newDemo(t)
	before := d.mem.State()
	for host, part := range map[string]string{"db3": "would be done by the leader", "db1": "refused by rule fence.holder"} {
		for _, op := range []string{"off", "reboot"} {
			got := want[httpapi.RequestBody](d, http.StatusOK, "POST", "/v1/fences", fmt.Sprintf(`{"op":%q,"host":%q,"by":"a","reason":"b","dry_run":true}`, op, host))
			if !strings.Contains(got.Would, part) || got.Preview == nil || len(got.Preview.Findings) < 2 {
				t.Errorf("%s of %s: %q, %+v", op, host, got.Would, got.Preview)
			}
		}
	}
	on := want[httpapi.RequestBody](d, http.StatusOK, "POST", "/v1/fences", `{"op":"on","host":"db3","by":"a","reason":"b","dry_run":true}`)
	if !strings.Contains(on.Would, "would be done by the leader") {
		t.Errorf("on: %q", on.Would)
	}
	want[httpapi.Error](d, http.StatusNotFound, "POST", "/v1/fences", `{"op":"off","host":"nosuch","by":"a","reason":"b","dry_run":true}`)
	if d.mem.State() != before {
		t.Error("a dry run changed the state")
	}
}

func TestOrderIsCheckedAtTheDoor(t *testing.T) {
	d := newDemo(t)
	before := d.mem.State()
	for _, field := range []string{`"override":["fence.hodler"]`, `"override":["fence.vote"]`, `"timeout":"-1s"`, `"timeout":"soon"`, `"timeout":"25h"`, `"wait":"6m"`} {
		want[httpapi.Error](d, http.StatusBadRequest, "POST", "/v1/fences", `{"op":"off","host":"db3","by":"a","reason":"b",`+field+`}`)
	}
	if d.mem.State() != before {
		t.Error("something was written")
	}
	d.apply(witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOff, Host: "db3", By: "a", Reason: "b", Key: "k"}})
	if got := want[httpapi.Error](d, http.StatusConflict, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db2", "k", "")); !strings.Contains(got.Message, `"k"`) {
		t.Errorf("%+v", got)
	}
}

func TestRequesterWithoutTheVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		ask := func(who string, status int) {
			t.Helper()
			done := make(chan bool)
			go func() {
				defer close(done)
				res, raw := d.call("POST", "/v1/fences", fmt.Sprintf(`{"op":"off","host":"db3","by":"stonith","reason":"lost","requester":%q,"wait":"5s"}`, who))
				if res.StatusCode != status {
					t.Errorf("%s: %d %s, want %d", who, res.StatusCode, raw, status)
				}
			}()
			synctest.Wait()
			d.settle(witness.Confirmed, witness.GradeObserved, "the BMC says Off, twice")
			<-done
		}
		ask("pg2", http.StatusUnprocessableEntity)
		ask("db2", http.StatusUnprocessableEntity)
		ask("unheard-of", http.StatusUnprocessableEntity)
		ask("pg1", http.StatusOK)
	})
}

func TestApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		cfg := d.config()
		cfg.Clusters[0].Approval = witness.ApprovalTwoPerson
		d.apply(witness.Configure{Config: cfg, By: "anna"})
		settle := func() { d.settle(witness.Confirmed, witness.GradeObserved, "the BMC says Off, twice") }

		first := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "k1", ""))
		settle()
		// Even a patient client is told at once that a person has to come first.
		again := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "k1", "60s"))
		if again.Request.ID != first.Request.ID || again.Request.Status != witness.StatusApproval || again.Action != nil {
			t.Fatalf("%+v", again)
		}
		path := fmt.Sprintf("/v1/requests/%d/", first.Request.ID)
		if got := want[httpapi.Error](d, http.StatusUnprocessableEntity, "POST", path+"approve", `{"by":"Anna@ops","reason":"me"}`); got.Rule != "approval.two-person" {
			t.Errorf("%+v", got)
		}
		want[httpapi.Error](d, http.StatusBadRequest, "POST", path+"approve", `{"by":"bert","reason":" "}`)
		want[httpapi.Error](d, http.StatusNotFound, "POST", "/v1/requests/9999/approve", `{"by":"bert","reason":"x"}`)
		want[httpapi.RequestBody](d, http.StatusAccepted, "POST", path+"approve", `{"by":"bert","reason":"I see smoke"}`)
		settle()
		done := want[httpapi.RequestBody](d, http.StatusOK, "GET", strings.TrimSuffix(path, "/"), "")
		if done.Request.Status != witness.StatusDone || len(done.Request.Approvals) != 1 || done.Request.Approvals[0].By != "bert" {
			t.Errorf("%+v", done.Request)
		}
		want[httpapi.Error](d, http.StatusConflict, "POST", path+"deny", `{"by":"carl","reason":"no"}`)

		history := call[struct{ Records []httpapi.FenceRecord }](d, "/v1/fences/history?host=db3")
		if len(history.Records) != 1 || history.Records[0].Request.By != "anna@ops" || history.Records[0].Action.Rule != "fence.request" {
			t.Errorf("%+v", history)
		}
	})
}

func TestFollowOneFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		other := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", `{"op":"on","host":"db2","by":"a","reason":"b"}`)
		mine := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", `{"op":"reboot","host":"db3","by":"a","reason":"b"}`)
		streams := map[uint64]chan string{}
		for _, id := range []uint64{mine.Request.ID, other.Request.ID} {
			streams[id] = make(chan string, 1)
			go func() {
				_, raw := d.call("GET", fmt.Sprintf("/v1/fences/%d/events", id), "")
				streams[id] <- raw
			}()
		}
		synctest.Wait()
		d.settle(witness.Confirmed, witness.GradeObserved, "read twice")
		got := <-streams[mine.Request.ID] // it ends by itself
		last := -1
		for _, kind := range []string{"requested-reboot", "planned-fence-off", "fence-off-confirmed", "planned-fence-on", "fence-on-confirmed", "request-done"} {
			at := strings.Index(got, `"kind":"`+kind+`"`)
			if at <= last {
				t.Errorf("%s is missing or out of order in\n%s", kind, got)
			}
			last = at
		}
		if strings.Contains(got, "db2") {
			t.Errorf("events of another order:\n%s", got)
		}
		if got := <-streams[other.Request.ID]; !strings.Contains(got, "db2") || strings.Contains(got, "db3") {
			t.Errorf("the other one:\n%s", got)
		}
		want[httpapi.Error](d, http.StatusNotFound, "GET", "/v1/fences/nosuch/events", "")

		act := d.mem.State().Request(mine.Request.ID).Off
		if raw := want[struct {
			Action  witness.Action
			Request witness.Request
		}](d, http.StatusOK, "GET", "/v1/fences/"+act, ""); raw.Action.Outcome != witness.Confirmed || raw.Request.Kind != witness.RequestReboot {
			t.Errorf("%+v", raw)
		}
	})
}

func TestOrderThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		got := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", `{"op":"off","host":"db3","by":"a","reason":"b","timeout":"30s"}`)
		d.mem.Advance(31 * time.Second)
		d.settle(witness.Confirmed, witness.GradeObserved, "read twice")
		r := d.mem.State().Request(got.Request.ID)
		if r.Status != witness.StatusRefused || r.Rule != "request.timeout" || d.mem.State().Host("db3").Fenced {
			t.Errorf("%+v", r)
		}
	})
}
