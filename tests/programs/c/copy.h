/* A routine like memcpy, which the loader binds to one of three. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void *mylib_copy(void *to, const void *from, size_t length);

/* Calls of each variant: anywhere, AVX2, AVX-512. */
extern unsigned long mylib_ran[3];

#ifdef __cplusplus
}
#endif
