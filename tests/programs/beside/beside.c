/* A key and sites by libinvar's header, in a module that has a runtime of its own. */

#include <invar.h>
#include <unistd.h>

/* Says that a probe runs, as `witness` does. */
#define PROBING(name) (void)!write(STDOUT_FILENO, "probe\t" name "\tbeside.c\n", sizeof "probe\t" name "\tbeside.c")

/* Stands before the one that it asks for. */
INVAR_EXTERN_KEY(c_beside);
static void probe_asks(struct invar_verdict *verdict) { PROBING("c_asks"); verdict->value = invar_value(c_beside); }
INVAR_KEY(c_asks, probe_asks);

static void probe_beside(struct invar_verdict *verdict) { PROBING("c_beside"); verdict->value = 1; }
INVAR_KEY(c_beside, probe_beside);

/* In a cycle of two. */
INVAR_EXTERN_KEY(c_pong);
static void probe_ping(struct invar_verdict *verdict) { PROBING("c_ping"); verdict->value = !invar_value(c_pong); }
INVAR_KEY(c_ping, probe_ping);
static void probe_pong(struct invar_verdict *verdict) { PROBING("c_pong"); verdict->value = !invar_value(c_ping); }
INVAR_KEY(c_pong, probe_pong);

static int chosen(int x) { return x + 10; }
static int fallback(int x) { return x; }
INVAR_POINTER(int, c_pointer, (int), c_beside, chosen, fallback);
int by_pointer(int x) { return c_pointer(x); }

int asks(void) { return invar_value(c_asks); }

int beside(int x)
{
	invar_slice_enter();
	x += invar_branch(c_beside);
	invar_slice_leave();
	return x;
}
