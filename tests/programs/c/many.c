/* Some hundred sites, at every distance from the next line of 32 bytes. Says what they chose. */

#include <invar.h>
#include <stdio.h>

static void probe_on(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(many_on, probe_on);
static void probe_off(struct invar_verdict *verdict) { verdict->value = 0; }
INVAR_KEY(many_off, probe_off);

static int lost;

/* As long as its number has it. */
#define FUNCTION(n) \
	__attribute__((noinline)) static int f##n(volatile int *x) \
	{ \
		int sum = *x < n; \
		invar_slice_enter(); \
		if (*x != n && invar_branch(many_on) && !invar_branch(many_off)) \
			sum += n; \
		invar_slice_leave(); \
		if (invar_branch(many_off) || !invar_branch_is(many_on, 1)) \
			lost += *x - n; \
		return sum; \
	}
#define TEN(of, n) of(n##0) of(n##1) of(n##2) of(n##3) of(n##4) of(n##5) of(n##6) of(n##7) of(n##8) of(n##9)
#define HUNDRED(of) TEN(of, 1) TEN(of, 20) TEN(of, 3000) TEN(of, 4) TEN(of, 50000) TEN(of, 600) TEN(of, 7) TEN(of, 80) TEN(of, 9)
HUNDRED(FUNCTION)

#define CALL(n) sum += f##n(&x);

int main(void)
{
	volatile int x = 5;
	long sum = 0;

	HUNDRED(CALL)
	printf("sum\t%ld\nlost\t%d\n", sum, lost);
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
