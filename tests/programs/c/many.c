/* Some hundred sites, at every distance from the next line of 32 bytes, and a pointer. Says what they chose. */

#include <invar.h>
#include <stdio.h>

static void probe_on(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(many_on, probe_on);
static void probe_off(struct invar_verdict *verdict) { verdict->value = 0; }
INVAR_KEY(many_off, probe_off);
INVAR_KEY_VALUES(many_levels, probe_on, "low\0middle\0high", 3);
static void probe_number(struct invar_verdict *verdict) { verdict->data = 100; }
INVAR_CONSTANT(many_half, uint32_t, probe_number);
INVAR_CONSTANT(many_whole, uint64_t, probe_number);
static int chosen(int x) { return x - 1; }
static int fallback(int x) { return x; }
INVAR_POINTER(int, many_pointer, (int), many_on, chosen, fallback);

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
		sum += invar_select(many_levels, 3) + (int)INVAR_VALUE(many_half); \
		if (!invar_branch_at_least(many_levels, 1) || (*x == n && INVAR_VALUE(many_whole) != 100)) \
			lost++; \
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
	/* Without libinvar it is the fallback. */
	if (invar_report)
		lost += many_pointer(1);
	printf("sum\t%ld\nlost\t%d\n", sum, lost);
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
