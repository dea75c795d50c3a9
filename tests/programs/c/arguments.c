/* What libinvar's functions say to arguments that are wrong, too small, or from a newer program; and that they leave errno alone.
 * Prints each line that is not as it should be, and then how many were looked at. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <invar.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int looked;

/* The condition, and that errno is kept. */
#define CHECK(condition) \
	do { \
		errno = 4711; \
		looked++; \
		if (!(condition) || errno != 4711) \
			printf("wrong\t%d: %s, errno %d\n", __LINE__, #condition, errno); \
	} while (0)

/* Probes that fill in what is not theirs, and more than there is room for. */
static void probe_long(struct invar_verdict *verdict)
{
	memset(verdict->evidence, 'x', sizeof verdict->evidence);
	verdict->evidence_length = 65535;
	verdict->status = 77;
	verdict->reserved = 1;
	verdict->sets = 1;
	verdict->value = 1;
}
INVAR_KEY(c_long, probe_long);

static void probe_after(struct invar_verdict *verdict)
{
	static const struct invar_verdict zero;
	int i;

	verdict->value = memcmp(verdict, &zero, sizeof zero) == 0;
	for (i = 0; i < 100; i++)
		invar_evidence(verdict, "0123456789");
}
INVAR_KEY(c_after, probe_after);

static void probe_beyond(struct invar_verdict *verdict) { verdict->value = 2; }
INVAR_KEY(c_beyond, probe_beyond);

static void probe_switch(struct invar_verdict *verdict) { (void)verdict; }
INVAR_SWITCH(c_switch, probe_switch);

static int report_to(const char *path, int flags)
{
	int file = open(path, flags), result = invar_report(file);

	/* Still open, and open once. */
	return close(file) == 0 ? result : -1;
}

static void strings(void)
{
	static const int codes[] = {
		INVAR_OK, INVAR_ABSENT, INVAR_NO_AREA, INVAR_OTHER_AREA, INVAR_NO_KEY, INVAR_INVALID,
		INVAR_NOT_COUNTED, INVAR_OTHER_FILTERS, INVAR_KILLED, INVAR_ENDING, INVAR_IN_HANDLER, INVAR_NOT_SET, -1, INT_MAX,
	};
	int count = sizeof codes / sizeof *codes, i, j;

	for (i = 0; i < count; i++)
		for (j = 0; j < i; j++)
			CHECK(strcmp(invar_strerror(codes[i]), invar_strerror(codes[j])) != 0);
	for (i = -5000; i < 5000; i++)
		CHECK(*invar_strerror(i));
	CHECK(strcmp(invar_strerror(INVAR_OK), "success") == 0);
	CHECK(strcmp(invar_strerror(INVAR_INVALID), "invalid argument") == 0);
	CHECK(strcmp(invar_strerror(INVAR_NO_KEY), "no module has decided a key of this name") == 0);
	CHECK(strcmp(invar_strerror(-EPERM), invar_strerror(-4095)) == 0);
	CHECK(strcmp(invar_strerror(-4096), invar_strerror(INT_MIN)) == 0);
	CHECK(strcmp(invar_strerror(-4096), invar_strerror(INVAR_NOT_SET + 1)) == 0);
}

static void keys(void)
{
	struct invar_verdict verdict;
	unsigned char bytes[sizeof verdict + 8];
	size_t size;

	CHECK(invar_key(NULL, &verdict, sizeof verdict) == INVAR_INVALID);
	CHECK(invar_key("c_long", NULL, sizeof verdict) == INVAR_INVALID);
	CHECK(invar_key("c_long", &verdict, 0) == INVAR_INVALID);
	CHECK(invar_key("", &verdict, sizeof verdict) == INVAR_NO_KEY);
	CHECK(invar_key("c_lon", &verdict, sizeof verdict) == INVAR_NO_KEY);
	CHECK(invar_key("c_long2", &verdict, sizeof verdict) == INVAR_NO_KEY);
	for (size = 1; size <= sizeof bytes; size++) {
		memset(bytes, 0xa5, sizeof bytes);
		CHECK(invar_key("c_long", (struct invar_verdict *)(void *)bytes, size) == INVAR_OK);
		CHECK(bytes[0] == 1);
		CHECK(size == sizeof bytes || bytes[size] == 0xa5);
		CHECK(bytes[sizeof bytes - 1] == 0xa5);
	}
	CHECK(invar_key("c_long", &verdict, sizeof verdict) == INVAR_OK);
	CHECK(verdict.status == 2 && verdict.reserved == 0 && verdict.sets == 0 && verdict.origin == INVAR_ORIGIN_PROBE);
	CHECK(verdict.evidence_length == sizeof verdict.evidence);
	CHECK(invar_key("c_after", &verdict, sizeof verdict) == INVAR_OK);
	CHECK(verdict.value == 1 && verdict.evidence_length == sizeof verdict.evidence);
	CHECK(invar_key("c_beyond", &verdict, sizeof verdict) == INVAR_OK);
	CHECK(verdict.value == 0 && verdict.origin == INVAR_ORIGIN_FAILED);
}

/* With room for what a newer version may have behind it. */
static struct {
	struct invar_counts counts;
	unsigned char more[64];
} newer;

static int counts_into(size_t size)
{
	memset(&newer, 0xa5, sizeof newer);
	newer.counts.size = size;
	return invar_slice_counts(&newer.counts);
}

static void counts(int counted)
{
	int ok = counted ? INVAR_OK : INVAR_NOT_COUNTED, i;
	const uint64_t untouched = 0xa5a5a5a5a5a5a5a5;

	for (i = 0; i < 3; i++) {
		invar_slice_enter();
		invar_slice_leave();
	}
	CHECK(invar_slice_counts(NULL) == INVAR_INVALID);
	CHECK(counts_into(0) == INVAR_INVALID && newer.counts.requests == untouched);
	CHECK(counts_into(sizeof(size_t) - 1) == INVAR_INVALID && newer.counts.requests == untouched);
	CHECK(counts_into(sizeof(size_t)) == ok && newer.counts.requests == untouched);
	CHECK(counts_into(sizeof(size_t) + 8) == ok && newer.counts.grants == untouched);
	CHECK(newer.counts.requests == (counted ? 3 : untouched));
	CHECK(counts_into(sizeof newer) == ok && newer.counts.size == sizeof newer && newer.more[0] == 0xa5);
	CHECK(newer.counts.requests == (counted ? 3 : untouched) && newer.counts.grants == (counted ? 0 : untouched));
	CHECK(counts_into((size_t)-1) == ok && newer.more[0] == 0xa5);
}

/* With room for what a newer version may have behind it. */
static struct {
	struct invar_set_counts counts;
	unsigned char more[64];
} newer_set;

static int set_into(size_t size, const char *value)
{
	const struct invar_setting setting = { "c_switch", value };

	memset(&newer_set, 0xa5, sizeof newer_set);
	newer_set.counts.size = size;
	return invar_set_counted(&setting, 1, &newer_set.counts);
}

static void sets(void)
{
	const struct invar_setting on = { "c_switch", "on" }, loud = { "c_switch", "loud" }, none = { "c_none", "on" };
	const uint64_t untouched = 0xa5a5a5a5a5a5a5a5;
	struct invar_set_counts counts = { sizeof counts, untouched, untouched };

	CHECK(!invar_branch(c_switch));
	CHECK(set_into(0, "on") == INVAR_INVALID && newer_set.counts.bound == untouched && !invar_value(c_switch));
	CHECK(set_into(sizeof(size_t) - 1, "on") == INVAR_INVALID && newer_set.counts.bound == untouched && !invar_value(c_switch));
	CHECK(set_into(sizeof(size_t), "on") == INVAR_OK && newer_set.counts.bound == untouched && invar_value(c_switch));
	CHECK(set_into(sizeof(size_t) + 8, "off") == INVAR_OK && newer_set.counts.bound == 1 && newer_set.counts.checked == untouched);
	CHECK(set_into(sizeof newer_set, "on") == INVAR_OK && newer_set.counts.size == sizeof newer_set && newer_set.more[0] == 0xa5);
	CHECK(newer_set.counts.bound == 1 && newer_set.counts.checked == 0);
	CHECK(set_into((size_t)-1, "off") == INVAR_OK && newer_set.more[0] == 0xa5 && !invar_value(c_switch));
	CHECK(invar_set_counted(NULL, 1, &counts) == INVAR_INVALID && counts.bound == untouched);
	CHECK(invar_set_counted(&on, 65, &counts) == INVAR_INVALID && counts.bound == untouched);
	CHECK(invar_set_counted(&loud, 1, &counts) == INVAR_INVALID && counts.bound == untouched);
	CHECK(invar_set_counted(&none, 1, &counts) == INVAR_NO_KEY && counts.bound == untouched);
	CHECK(invar_set_counted(&on, 1, NULL) == INVAR_OK && invar_value(c_switch));
	CHECK(invar_set_counted(NULL, 0, &counts) == INVAR_OK && counts.bound == 0 && counts.checked == 0);
}

/* With room for the report's end and not for its beginning. */
static int report_to_pipe(size_t room)
{
	static char filling[4096];
	int ends[2], result = -1;

	if (pipe2(ends, O_NONBLOCK) == 0) {
		if (fcntl(ends[1], F_SETPIPE_SZ, sizeof filling) == sizeof filling &&
		    write(ends[1], filling, sizeof filling - room) == (ssize_t)(sizeof filling - room))
			result = invar_report(ends[1]);
		close(ends[0]);
		close(ends[1]);
	}
	return result;
}

static void reports(void)
{
	int ends[2];
	size_t room;

	for (room = 50; room < 1024; room += 50)
		CHECK(report_to_pipe(room) == INVAR_INVALID);

	CHECK(invar_report(-1) == INVAR_INVALID);
	CHECK(invar_report(INT_MAX) == INVAR_INVALID);
	CHECK(report_to("/dev/null", O_WRONLY) == INVAR_OK);
	CHECK(report_to("/dev/null", O_RDONLY) == INVAR_INVALID);
	CHECK(report_to("/dev/full", O_WRONLY) == INVAR_INVALID);
	signal(SIGPIPE, SIG_IGN);
	if (pipe(ends) == 0) {
		close(ends[0]);
		CHECK(invar_report(ends[1]) == INVAR_INVALID);
		close(ends[1]);
	}
}

int main(int count, char **arguments)
{
	struct invar_verdict slice;
	const uint64_t nothing[7] = { 0 };

	(void)arguments;
	strings();
	keys();
	counts(count > 1);
	sets();
	reports();
	CHECK(invar_version() == INVAR_VERSION);
	/* Nothing that these could know. */
	CHECK(invar_load(NULL) == INVAR_INVALID);
	CHECK(invar_load((const void *)nothing) == INVAR_INVALID);
	if (invar_key("slice", &slice, sizeof slice) == INVAR_OK && (!slice.value || slice.origin == INVAR_ORIGIN_FORCED)) {
		CHECK(invar_slice_enrol() == INVAR_ABSENT);
		CHECK(invar_slice_guard() == INVAR_ABSENT);
	}
	CHECK((invar_slice_enrol_contended(), 1));
	printf("looked\t%d\n", looked);
	fflush(stdout);
	return invar_report(1);
}
