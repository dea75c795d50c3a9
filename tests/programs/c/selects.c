/* A program that goes several ways by a key and by a switch of four values: by selects, ordered branches and equal ones. Its arguments are
 * the values to which it sets the switch, one after the other. It says what it saw wherever these do not agree. */
#include <invar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"narrow", "wide", "widest", "huge"};

static void probe_width(struct invar_verdict *verdict)
{
	const char *wanted = getenv("SELECTS_WIDTH");

	for (unsigned at = 0; wanted && at < 4; at++)
		if (!strcmp(wanted, names[at]))
			verdict->value = (uint8_t)at;
}
static void probe_level(struct invar_verdict *verdict) { verdict->value = 1; }

INVAR_KEY_VALUES(selects_width, probe_width, "narrow\0wide\0widest\0huge", 4);
INVAR_SWITCH_VALUES(selects_level, probe_level, "narrow\0wide\0widest\0huge", 4);

static int wrong;

#define LOOK(key) \
	static __attribute__((noinline)) int look_##key(void) \
	{ \
		int value = invar_value(key), by_select = -1, of_three, at_least; \
		switch (invar_select(key, 4)) { \
		case 0: by_select = 0; break; \
		case 1: by_select = 1; break; \
		case 2: by_select = 2; break; \
		case 3: by_select = 3; break; \
		} \
		/* One that says that the key has fewer values than it has. */ \
		of_three = invar_select(key, 3); \
		at_least = (invar_branch_at_least(key, 1) ? 1 : 0) + !!invar_branch_at_least(key, 2) + (invar_branch_at_least(key, 3) ? 1 : 0); \
		if (by_select != value || of_three != value || at_least != value || invar_branch_is(key, 2) != (value == 2)) { \
			printf(#key ": %d, %d %d %d\n", value, by_select, of_three, at_least); \
			wrong = 1; \
		} \
		return by_select; \
	}
LOOK(selects_width)
LOOK(selects_level)

static void probe_not(struct invar_verdict *verdict) { (void)verdict; }
INVAR_KEY(selects_not, probe_not);

/* A name that is a macro too stays itself. */
#define selects_width 4711
#define GO(number) static int go_##number(int more) { return number + more; }
GO(0)
GO(1)
GO(2)
GO(3)
INVAR_DISPATCH(static, int, by_values, (int more), (more), INVAR_IS(selects_width, 2), go_2, INVAR_AT_LEAST(selects_width, 3), go_3,
	       INVAR_IS(selects_width, 1), go_1, INVAR_NOT(selects_not), go_0, go_3);
INVAR_DISPATCH(static, int, by_order, (int more), (more), INVAR_AT_LEAST(selects_width, 2), go_2, selects_not, go_3,
	       INVAR_AT_LEAST(selects_width, 1), go_1, go_0);
INVAR_DISPATCH(static, int, by_not, (int more), (more), INVAR_NOT(selects_not), go_1, go_0);
INVAR_DISPATCH(static, int, by_several, (int more), (more), INVAR_AND(INVAR_NOT(selects_not), INVAR_AT_LEAST(selects_width, 3)), go_3,
	       INVAR_AND(INVAR_IS(selects_width, 1), selects_not), go_0,
	       INVAR_AND_3(INVAR_AT_LEAST(selects_width, 1), INVAR_NOT(selects_not), INVAR_IS(selects_width, 1)), go_1,
	       INVAR_AND(INVAR_AT_LEAST(selects_width, 1), INVAR_NOT(selects_not)), go_2, go_0);
#undef selects_width

static void look_dispatched(void)
{
	int value = invar_value(selects_width);

	if (by_values(10) != value + 10 || by_order(10) != (value < 2 ? value : 2) + 10 || by_not(10) != 11 ||
	    by_several(10) != value + 10) {
		printf("dispatched: %d, %d %d %d %d\n", value, by_values(10), by_order(10), by_not(10), by_several(10));
		wrong = 1;
	}
}

int main(int count, char **arguments)
{
	look_dispatched();
	printf("%s %s", names[look_selects_width()], names[look_selects_level()]);
	for (int at = 1; at < count; at++) {
		int code = invar_set ? invar_set("selects_level", arguments[at]) : 0;

		printf(" %s:%d", names[look_selects_level()], code);
	}
	printf("\n");
	if (invar_report && getenv("SELECTS_REPORT")) {
		fflush(stdout);
		invar_report(1);
	}
	return wrong;
}
