// Package redfish fences a machine through its BMC by Redfish (DSP0266, DSP0268). README.md describes the settings.
//
// gofish carries the requests, logs in and reads accounts; the power state, the actions and every decision are ours.
package redfish
