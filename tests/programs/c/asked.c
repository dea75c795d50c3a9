/* Two threads decide a key each, and a third asks for one of them. Says what came of each: value, origin, what a branch says, and why.
 * Returns 0. */

#include <invar.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

INVAR_EXTERN_KEY(b_one);
INVAR_EXTERN_KEY(b_two);

static pthread_t decides;
static int begun, other_begun, over;	/* which is the first, from 1 on; the other, too; nobody will ask any more */
static uint8_t told;

static uint8_t value(int key) { return key == 1 ? invar_value(b_one) : invar_value(b_two); }

static void wait_for(int *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void *decide_other(void *unused)
{
	(void)unused;
	value(3 - begun);
	return NULL;
}

static void *ask(void *unused)
{
	(void)unused;
	told = value(begun);
	return NULL;
}

/* The key whose turn comes first, which is the compiler's choice, is the one that is asked for. */
static void probe(struct invar_verdict *verdict, int key)
{
	pthread_t asks;

	verdict->value = 1;
	invar_evidence(verdict, "as it is");
	if (begun) {
		__atomic_store_n(&other_begun, 1, __ATOMIC_RELEASE);
		wait_for(&over);
		return;
	}
	begun = key;
	if (pthread_create(&decides, NULL, decide_other, NULL))
		return;
	wait_for(&other_begun);
	if (!pthread_create(&asks, NULL, ask, NULL))
		pthread_join(asks, NULL);
	__atomic_store_n(&over, 1, __ATOMIC_RELEASE);
	pthread_join(decides, NULL);
}

static void probe_one(struct invar_verdict *verdict) { probe(verdict, 1); }
INVAR_KEY(b_one, probe_one);
static void probe_two(struct invar_verdict *verdict) { probe(verdict, 2); }
INVAR_KEY(b_two, probe_two);

static void say(const char *name, const struct invar_verdict *verdict, int branch)
{
	printf("%s\t%d %d %d%s\t%.*s\n", name, verdict->value, verdict->origin, branch, verdict->status == 2 ? "" : " not sealed",
	       verdict->evidence_length, verdict->evidence);
}

int main(void)
{
	say(begun == 1 ? "asked for" : "meanwhile", &invar_key_b_one, invar_branch(b_one));
	say(begun == 2 ? "asked for" : "meanwhile", &invar_key_b_two, invar_branch(b_two));
	return told;
}
