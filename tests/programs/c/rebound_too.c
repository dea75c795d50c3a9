/* Another file of the program rebound, with a key that the first one has as well. */

#include "rebound.h"

INVAR_CPU_KEY(avx2);
