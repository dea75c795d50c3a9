/* A library with the switch of its program, in another object file of its own. */

#include <invar.h>

static void probe(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_SWITCH(switched_trace, probe);

int traced(void) { return invar_branch(switched_trace) ? 1 + invar_value(switched_trace) : 0; }
