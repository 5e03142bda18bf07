package coherence_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// races are the ways in which a cache could serve a stale record, and the tests that
// make each of them happen, by package and name. A race may be tested at several levels:
// the protocol over a log in memory, over a real server, or with a store behind it. The
// files of some tests have the build tag simulation.
var races = []struct {
	race  string
	tests []string
}{
	{"fill after invalidation", []string{"coherence.TestFillAfterInvalidation"}},
	{"fill after flush", []string{"coherence.TestFillAfterFlush"}},
	{"joining a flight begun before an invalidation", []string{
		"manager.TestNoJoiningAFlightFromBeforeAWrite", "manager.TestNoJoiningAFlightAcrossAForeignWrite"}},
	{"joining a flight between intent and commit", []string{
		"coherence.TestNoFillWhileAWriteIsUnderWay", "manager.TestNoJoiningAFlightAcrossAForeignWrite",
		"manager.TestNoSharingWhileAWriteIsUnderWay"}},
	{"writer dying between store and done", []string{"coherence.TestWriterDies"}},
	{"event lost", []string{"coherence.TestDoneLost", "coherence.TestReconnectPastRetention", "coherence.TestStreamWhileAway"}},
	{"event delayed", []string{"coherence.TestIntentDelayed", "coherence.TestDoneDelayed", "coherence.TestStoreReadAheadOfTheLog",
		"manager.TestStoreReadAheadOfTheLog", "manager.TestStoreReadAheadOfADelete"}},
	{"event duplicated", []string{"coherence.TestEventDeliveredAgain", "coherence.TestDoneAppendedAgain",
		"coherence.TestStreamTakesTheEndOfAWriteOnce"}},
	{"overlapping writes where one done releases the other's hold", []string{"coherence.TestDoneReleasesItsOwnHoldOnly"}},
	{"a partitioned replica whose store is reachable", []string{
		"coherence.TestPartitionedReplica", "manager.TestPartitionedReplicaReadsTheStore"}},
	{"an echo that comes late", []string{"coherence.TestLeaseCountsFromItsPing"}},
	{"a pause between lease check and reply", []string{
		"coherence.TestLeaseEndsWhileAnEntryIsOpened", "manager.TestPauseBeforeTheReply"}},
	{"a suspended machine", []string{"coherence.TestDeadlineByBothClocks"}},
	{"reconnect within retention", []string{
		"coherence.TestReconnectWithinRetention", "coherence.TestStreamWhileAway", "coherence.TestStreamSurvivesServerRestart"}},
	{"reconnect past retention", []string{"coherence.TestReconnectPastRetention", "coherence.TestStreamWhileAway"}},
	{"stream deleted and recreated", []string{
		"coherence.TestStreamRecreated", "coherence.TestStreamDeletedAndMadeAnew", "coherence.TestStreamReplacedWhileAway",
		"manager.TestRecordOfALaterStream"}},
	{"a start on a stream that replaced another", []string{"coherence.TestStartOnAYoungLog", "coherence.TestStreamFounded"}},
	{"stream that lost its end", []string{"coherence.TestLogLosesItsEnd", "coherence.TestStreamWhileAway"}},
	{"slow-consumer drop", []string{"coherence.TestSlowConsumer"}},
	{"write on one replica then read on another with its revision", []string{
		"coherence.TestRevisionNotReached", "manager.TestWriteOnOneReadOnAnother"}},
	{"fill at the writer against a foreign write", []string{"manager.TestWriterFillsNothing"}},
	{"a write that times out and lands late", []string{
		"coherence.TestUnknownOutcomeHoldsLonger", "coherence.TestWriteEndsBeforeItsHold",
		"manager.TestWriteTimesOutAndLandsLate", "coherence.TestChangedDuringAWrite"}},
	{"negative caching against create", []string{
		"manager.TestAbsenceInFlightAgainstCreate", "manager.TestAbsenceAheadOfTheLog", "manager.TestCachedAbsenceAgainstCreate"}},
	{"flush against fill and reinsertion", []string{
		"coherence.TestFlushAgainstFill", "coherence.TestFillAfterFlush", "cache.TestDropSubtreeAgainstPut"}},
	{"index eviction against get", []string{
		"cache.TestEvictionAgainstGet", "cache.TestGetAgainstMove", "cache.TestConcurrentHistory"}},
	{"key rotation against open", []string{
		"seal.TestRotationAgainstOpen", "seal.TestRotated", "manager.TestKeyRotation"}},
	{"an eventually consistent read after done", []string{
		"coherence.TestEventuallyConsistentRead", "coherence.TestOverlappingWritesInTheStoresOrder"}},
	{"start before the first echo", []string{"coherence.TestStartBeforeTheFirstEcho", "coherence.TestStartTrustsNothing"}},
	{"a strict write against a replica that answers from its cache", []string{
		"coherence.TestStrictWriteWithoutLag", "coherence.TestStrictWriteWaitsForAcknowledgement",
		"coherence.TestStrictWriteOutwaitsALease", "coherence.TestStrictWriteAgainstPings", "coherence.TestStrictWriteAfterLeave",
		"coherence.TestStrictWriteWaitsForUnknownReplicas", "coherence.TestStrictWriteGivesUp"}},
	{"replicas with other settings", []string{
		"coherence.TestHoldIsThatOfItsWriter", "coherence.TestLongestHoldAtAStart", "coherence.TestLeaseIsThatOfItsSender",
		"coherence.TestLongestLeaseOfUnknownReplicas", "coherence.TestEndWaitsForTheLongestLease"}},
	{"an idle replica against its first read", []string{
		"coherence.TestIdleReplica", "manager.TestIdleReplicaHitsAgain"}},
	{"a change in the store itself", []string{
		"coherence.TestChangedOutside", "coherence.TestChangedByAWrite", "coherence.TestChangedDuringAWrite",
		"coherence.TestChangedBeforeAWrite", "coherence.TestChangedAllVoidsTokens", "coherence.TestChangedAllConcernsItsStore"}},
}

// Every race has a test, and the test exists.
func TestRaces(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\) *\{`)
	there := map[string]bool{}
	for _, pkg := range []string{"coherence", "manager", "cache", "seal"} {
		files, err := filepath.Glob(filepath.Join("..", pkg, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d test files, %v", pkg, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range function.FindAllSubmatch(text, -1) {
				there[pkg+"."+string(match[1])] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range races {
		if len(r.tests) == 0 || seen[r.race] {
			t.Errorf("%q has no test, or is listed twice", r.race)
		}
		seen[r.race] = true
		for _, name := range r.tests {
			if !there[name] {
				t.Errorf("the test of %q is %s, which does not exist", r.race, name)
			}
		}
	}
}
