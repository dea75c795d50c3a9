/* Keys, branches, dispatch and sections, as a C or C++ program would have them. Says what it found, a line each. */

#include <invar.h>
#include <stdio.h>
#include <string.h>

static void probe_wide(struct invar_verdict *verdict)
{
	verdict->value = 1;
	invar_evidence(verdict, "says so");
}
INVAR_KEY(c_wide, probe_wide);

static void probe_mode(struct invar_verdict *verdict)
{
	verdict->value = 1;
}
INVAR_KEY_VALUES(c_mode, probe_mode, "none\0some\0all", 3);

static void probe_lost(struct invar_verdict *verdict)
{
	verdict->origin = INVAR_ORIGIN_FAILED;
	verdict->value = 1;
	invar_evidence(verdict, "cannot tell");
}
INVAR_KEY(c_lost, probe_lost);

/* Before any other that a program may ask for. */
static int early;
__attribute__((constructor(101))) static void look_early(void) { early = invar_branch(c_wide); }

/* An origin that is not a probe's to give. */
static void probe_odd(struct invar_verdict *verdict)
{
	verdict->origin = INVAR_ORIGIN_FORCED;
	verdict->value = 1;
}
INVAR_KEY(c_odd, probe_odd);

static int thrice(int x) { return 3 * x; }
static int twice(int x) { return 2 * x; }
INVAR_DISPATCH(static, int, times, (int x), (x), c_wide, thrice, twice);

static void add_thrice(int *sum, int x) { *sum += 3 * x; }
static void add_twice(int *sum, int x) { *sum += 2 * x; }
INVAR_DISPATCH(static, void, add_times, (int *sum, int x), (sum, x), c_wide, add_thrice, add_twice);

#ifdef __cplusplus
extern "C"
#endif
int elsewhere(void);

static long section(long x)
{
	invar_slice_enter();
	x = x * 5 + 1;
	invar_slice_leave();
	return x;
}

int main(void)
{
	struct invar_verdict verdict;
	char line[64] = "";
	long sum = 0;
	int i;

	/* As on any value that the compiler cannot know. */
	for (i = 0; i < 4; i++)
		sum += section(i);
	if (invar_branch(c_wide))
		strcat(line, "wide ");
	if (invar_branch_is(c_mode, 1))
		strcat(line, "some ");
	if (invar_branch_is(c_mode, 2))
		strcat(line, "all ");
	if (invar_branch(c_lost))
		strcat(line, "found ");
	if (invar_branch(c_odd))
		strcat(line, "odd ");
	printf("keys\t%s%d %d\n", line, invar_value(c_wide), invar_value(c_mode));
	i = times(5);
	add_times(&i, 2);
	printf("early\t%d\n", early);
	printf("times\t%d\n", i);
	printf("elsewhere\t%d\n", elsewhere());
	printf("sections\t%ld\n", sum);
	printf("libinvar\t%s\n", invar_version ? "there" : "not there");
	if (!invar_key)
		return 0;
	memset(&verdict, 0, sizeof verdict);
	i = invar_key("c_wide", &verdict, sizeof verdict);
	printf("key\t%d %.*s\n", i, verdict.evidence_length, verdict.evidence);
	printf("no key\t%s\n", invar_strerror(invar_key("c_none", &verdict, sizeof verdict)));
	fflush(stdout);
	return invar_report(1);
}
