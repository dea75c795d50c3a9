/* What is rare, and what is nearly always so, each beside something that compilers may take for the other way. */
#include <invar.h>

static void probe(struct invar_verdict *verdict) { (void)verdict; }
INVAR_SWITCH(c_rare, probe);

extern volatile int state;
volatile int state, fired;

/* As a tracepoint: a switch that is off, and behind it a state. */
#define TRACE() \
	do { \
		if (invar_branch_unlikely(c_rare) && \
		    invar_unlikely(__extension__({ __asm__ volatile("" : : : "memory"); state; }))) \
			fired++; \
	} while (0)
#define SLOW() \
	do { \
		if (!invar_likely(!invar_branch(c_rare))) { \
			__asm__ volatile("" : : : "memory"); \
			fired += state ? 2 : 3; \
		} \
	} while (0)

__attribute__((noinline)) void traced(int times)
{
	while (times--) {
		TRACE();
		TRACE();
		TRACE();
	}
}

__attribute__((noinline)) void hurried(int times)
{
	while (times--) {
		SLOW();
		SLOW();
	}
}

int main(int count, char **words)
{
	(void)words;
	state = count > 1;
	traced(2);
	hurried(2);
	return fired;
}
