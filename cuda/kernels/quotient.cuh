// x / y rounded to nearest, for inverse = 1 / y rounded to nearest: two corrections of the product
// (Markstein 1990, "Computation of elementary functions on the IBM RISC System/6000 processor").
// The compiler's own division calls a subroutine for numbers near the ends of the range, and the
// registers that it saves around the call would go to memory.
DEVICE float quotient(float x, float y, float inverse) {
    float q = x * inverse;
    q = fmaf(fmaf(-q, y, x), inverse, q);
    return fmaf(fmaf(-q, y, x), inverse, q);
}
