/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * `make check`: libinvar is there and of the header's version, decides keys, binds sites, and threads begin and end.
 */
#include <invar.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void probe_here(struct invar_verdict *verdict)
{
	verdict->value = 1;
	invar_evidence(verdict, "says so");
}
INVAR_KEY(check_here, probe_here);

static void *run(void *argument)
{
	invar_slice_enter();
	*(int *)argument = invar_branch(check_here);
	invar_slice_leave();
	return argument;
}

static int failed(const char *what)
{
	fprintf(stderr, "%s\n", what);
	return 1;
}

int main(void)
{
	struct invar_verdict verdict;
	pthread_t thread;
	void *result = NULL;
	int here = 0;

	if (!invar_version || invar_version() != INVAR_VERSION)
		return failed("libinvar is not there, or of another version than invar.h");
	if (pthread_create(&thread, NULL, run, &here) || pthread_join(thread, &result) || result != &here)
		return failed("a thread does not return what it returned");
	if (!here)
		return failed("the key's value is not what its probe said");
#if INVAR_SITES
	if (invar_key("check_here", &verdict, sizeof verdict) || memcmp(verdict.evidence, "says so", 7))
		return failed("libinvar did not decide the key");
	if (invar_key("slice", &verdict, sizeof verdict) || verdict.status != 2)
		return failed("libinvar did not decide the time slice key");
#else
	(void)verdict;
#endif
	return invar_report(1);
}
