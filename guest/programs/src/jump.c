/*
 * Leaves a function by siglongjmp(3), from a signal handler: only C may call sigsetjmp(3).
 */
#include <setjmp.h>
#include <stdbool.h>

static sigjmp_buf back;

/* Calls the function; whether it was left by `jump_out`. */
bool jump_left(void (*function)(void))
{
    if (sigsetjmp(back, 1))
        return true;
    function();
    return false;
}

/* Never returns. */
void jump_out(void)
{
    siglongjmp(back, 1);
}
