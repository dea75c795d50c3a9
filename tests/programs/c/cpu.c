/* Keys of the CPU's features, and a function that is chosen by two of them; then the report. */

#include <invar-ifunc.h>
#include <stdio.h>

INVAR_CPU_KEY(avx2);
INVAR_CPU_KEY(sse4_2);

static const char *with_avx2(void) { return "avx2"; }
static const char *with_sse(void) { return "sse4.2"; }
static const char *anywhere(void) { return "anywhere"; }
INVAR_DISPATCH(static, const char *, level, (void), (), cpu_avx2, with_avx2, cpu_sse4_2, with_sse, anywhere);

int main(void)
{
	printf("keys\t%d %d\nlevel\t%s\n", invar_branch(cpu_avx2), invar_value(cpu_sse4_2), level());
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
