/* Keys whose names are macros as well: each keeps its own, in every macro that takes one. */

#include <invar.h>
#include <stdio.h>

#define one two
#define number 3

static void probe_on(struct invar_verdict *verdict) { verdict->value = 1; }
static void probe_off(struct invar_verdict *verdict) { verdict->value = 0; }
static void probe_last(struct invar_verdict *verdict) { verdict->value = 2; }

INVAR_EXTERN_KEY(one);
INVAR_EXTERN_KEY(two);
INVAR_KEY(one, probe_on);
INVAR_KEY(two, probe_off);
INVAR_KEY_VALUES(number, probe_last, "none\0some\0all", number);

static int first(void) { return 1; }
static int second(void) { return 2; }
static int last(void) { return 9; }
INVAR_DISPATCH(static, int, by_one, (void), (), one, first, last);
INVAR_DISPATCH(static, int, by_two, (void), (), two, first, last);
INVAR_DISPATCH(static, int, by_both, (void), (), two, first, one, second, last);
INVAR_DISPATCH(static, int, by_three, (void), (), two, first, two, first, one, second, last);
INVAR_DISPATCH(static, int, by_four, (void), (), two, first, two, first, two, first, one, second, last);
INVAR_DISPATCH(static, int, by_and, (void), (), INVAR_AND(two, one), first, INVAR_AND_3(one, INVAR_NOT(two), one), second, last);
INVAR_POINTER(int, through, (void), one, first, last);
INVAR_POINTER(int, through_both, (void), INVAR_AND(one, INVAR_NOT(two)), first, last);

int main(void)
{
	printf("one\t%d %d\n", invar_branch(one), invar_value(one));
	printf("two\t%d %d\n", invar_branch(two), invar_value(two));
	printf("number\t%d %d\n", invar_branch_is(number, 2), invar_value(number));
	printf("dispatch\t%d %d %d %d %d %d\n", by_one(), by_two(), by_both(), by_three(), by_four(), by_and());
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
