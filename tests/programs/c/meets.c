/* The library `meeting`, in C: keys that others of its process are deciding while this one is loaded, each in a thread. */
#include <invar.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* The program's: how many probes of each key have begun. */
extern unsigned begun[30];

static void meet(struct invar_verdict *verdict, unsigned number)
{
	int first = __atomic_fetch_add(&begun[number], 1, __ATOMIC_SEQ_CST) == 0;

#ifndef __GLIBC__
	while (__atomic_load_n(&begun[number], __ATOMIC_SEQ_CST) < 2)
		sched_yield();
#endif
	invar_evidence(verdict, first ? "first" : "second");
	verdict->value = first ? 1 : 2;
}

#define MEET(number) \
	static void probe_##number(struct invar_verdict *verdict) { meet(verdict, number); } \
	INVAR_KEY_VALUES(met_##number, probe_##number, "nobody\0first\0second", 3)

MEET(0);
MEET(1);
MEET(2);
MEET(3);
MEET(4);
MEET(5);
MEET(6);
MEET(7);

#define TELL(number) \
	printf("met_%d %d %d\n", number, invar_branch_is(met_##number, 1) ? 1 : invar_branch_is(met_##number, 2) ? 2 : 0, \
	       invar_value(met_##number))

void tell_story(void);
void tell_story(void)
{
	TELL(0);
	TELL(1);
	TELL(2);
	TELL(3);
	TELL(4);
	TELL(5);
	TELL(6);
	TELL(7);
	fflush(stdout);
}

void tell_all(void);
void tell_all(void)
{
	unsigned number;

	for (number = 0; number < 8; number++)
		printf("probes %u\n", begun[number]);
	fflush(stdout);
	invar_report(STDOUT_FILENO);
}
