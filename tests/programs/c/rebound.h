/* What the files of the program rebound share: the machine that they are on, and what stands in the place of what asks its CPU. */

#include <stdint.h>

extern int machine;

static uint64_t features_(void) { return machine ? 0 : UINT64_MAX; }
#define invar_cpu_features_(nothing) features_##nothing(nothing)
#include <invar-ifunc.h>
