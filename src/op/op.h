/* The operators: one builder function each, with formula, shapes and attributes.
 *
 * `A` is the graph's compute dtype (f32, bf16, f16, f64), `E` its exact dtype (f32; f64 in an f64 graph). A weight
 * (frozen) is logically of the compute dtype whatever its file holds; a param (trainable) has dtype E. All functions
 * return NULL once the graph is in error. Rows: all dimensions but the last, multiplied. The gradient operators (*_dx,
 * *_dw, *_grad) are made by the reverse walk only and have no builder here; what each reads:
 *
 *     linear_dx       dy [..,N] A, w [N,K], add [..,K] A                 -> dx [..,K] A
 *     linear_dw       dy [..,N] A, x [..,K] A, add [N,K] E               -> dw E, attr.target ([N,K] or [N,K,1,1])
 *     conv2d_dx       dy [N,Ho,Wo,O] A, w, add [N,H,W,I] A               -> dx [N,H,W,I] A, attr.target
 *     conv2d_dw       dy [N,Ho,Wo,O] A, x [N,H,W,I] A, add [O,I,kh,kw] E -> dw E, attr.target
 *     affine_dv       dy [..,C] A, x [..,C] A, add [C] E                 -> dv [C] E
 *     hadamard_da     dw [N,..] E, b [r,K], c [N,s], d [s,K], add [N,r] E -> da E, attr.target
 *     hadamard_db     dw [N,..] E, a [N,r], c [N,s], d [s,K], add [r,K] E -> db E, attr.target
 *     group_norm_dx   dy, x, gamma, beta, statistics, add                -> dx
 *     layer_norm_dx   dy, x, gamma, statistics, add                      -> dx
 *     attention_grad  q, k, v, o, lse, do                                -> dq, dk, dv: those that attr.want_* names
 *     geglu_dx        dy [..,C], x [..,2C]                               -> dx [..,2C]
 *     activation_dx   dy, x                                              -> dx
 *     upsample_dx     dy [N,height,width,C]                              -> dx [N,H,W,C], attr.target
 *     mse_dx          x A, target, dloss scalar E                        -> dx A
 *     huber_dx        x A, target, c, dloss scalars E                    -> dx A
 *
 * `add` (added to the result) and dloss (1) may be absent. */
#ifndef LECO_OP_OP_H
#define LECO_OP_OP_H

#include "graph/graph.h"

/* y [..,N] A = scale * x [..,K] A  w [N,K]^T + b [N] + add [..,N] A.   b (a weight) and add may be NULL.
 * w is a weight, a param or an operator's result of dtype E. conv weights [N,K,1,1] are accepted as [N,K].
 * Gradients: dx = scale * dy w; dw (not of weights) = scale * dy^T x; dadd = dy. */
tensor *op_linear(graph *g, tensor *x, tensor *w, tensor *b, tensor *add, float scale);

/* y [N,Ho,Wo,O] A = conv(x [N,H,W,I] A, w [O,I,kh,kw]) + b [O] + add [N,Ho,Wo,O] A.   b and add may be NULL.
 * stride 1 or 2; pad = top, left, bottom, right (zeros). Ho = (H + top + bottom - kh) / stride + 1.
 * w is a weight, a param or an operator's result of dtype E. Gradients: dx, dadd; dw (not of weights). */
tensor *op_conv2d(graph *g, tensor *x, tensor *w, tensor *b, tensor *add, int stride, const int pad[4]);

/* w E = scale * (a [N,r] b [r,K]) * (c [N,s] d [s,K]), the two products multiplied element by element; its shape is
 * `target`, [N,..] of N * K elements: a layer's weight. All four are params; each has its gradient. */
tensor *op_hadamard(graph *g, tensor *a, tensor *b, tensor *c, tensor *d, float scale, shape target);

/* y E = scale * a b, its shape `target`: a [M,depth], b [depth,N] are params or operators' results of dtype E, of
 * whatever shapes hold so many elements; target has M * N. Gradients: da = scale * dy b^T, db = scale * a^T dy, which
 * are the same operator with attr.turned. */
tensor *op_product(graph *g, tensor *a, tensor *b, int64_t depth, float scale, shape target);

/* y E [A,B,C,D] = x[a,c,b,d] of x E [A,C,B,D]; dim is that of x, whose shape may be any of so many elements; y gets the
 * shape `target`. With the product of two vectors it makes the Kronecker product of two matrices. */
tensor *op_swap(graph *g, tensor *x, const int64_t dim[4], shape target);

/* q [N] E = 1 / |row n of W + scale * b a|, W [N,..] a weight, b [N,r] and a [r,..] params; with by_column q [K] =
 * 1 / |W[:,k,..] + ...|. Nothing's gradient goes through it: the norm counts as a constant (DoRA, section 4.3). */
tensor *op_row_norms(graph *g, tensor *w, tensor *b, tensor *a, float scale, bool by_column);

/* y [..,C] A = (offset + scale * v [C]) x [..,C] A + b [C] + add [..,C] A.   v (dtype E), b (a weight) and add may be
 * NULL. Gradients: dx, the same of dy; dv [C] = scale * sum over rows of dy x; dadd = dy. */
tensor *op_affine(graph *g, tensor *x, tensor *v, tensor *b, tensor *add, float offset, float scale);

/* y = a * b, equal shapes and dtypes, A or E; either may be a param. */
tensor *op_multiply(graph *g, tensor *a, tensor *b);

/* y [N,..,C] A: over each of `groups` groups of channels and all positions of one sample:
 * y = gamma (x - mean) / sqrt(var + eps) + beta, followed by SiLU where silu. gamma, beta [C] weights.
 * Second output (for the gradient): statistics [N,groups,2] E: mean, 1 / sqrt(var + eps). */
tensor *op_group_norm(graph *g, tensor *x, tensor *gamma, tensor *beta, int groups, float eps, bool silu);

/* y [..,C] A: the same over the last dimension of each row. Statistics [rows,2] E. gamma, beta [C] weights. */
tensor *op_layer_norm(graph *g, tensor *x, tensor *gamma, tensor *beta, float eps);

/* o [N,Tq,heads*D] A = softmax(scale * q k^T) v for each head; q [N,Tq,heads*D], k and v [N,Tk,heads*D]; heads are
 * contiguous runs of D channels. Images [N,H,W,heads*D] are taken as H*W tokens: T is rows / N, never dim[1]. scale 0
 * means 1 / sqrt(D). causal (Tq = Tk): a query sees keys up to its own position.
 * Second output: log-sum-exp [N,heads,Tq] E of the scaled scores. No kernel materialises the Tq x Tk scores. */
tensor *op_attention(graph *g, tensor *q, tensor *k, tensor *v, int heads, float scale, bool causal);

/* y [..,C] A = a * gelu(b); x [..,2C] holds a then b; gelu(b) = b/2 (1 + erf(b / sqrt 2)). */
tensor *op_geglu(graph *g, tensor *x);

/* y A = act(x). ACT_SILU x sigmoid(x); ACT_GELU the erf form; ACT_QUICK_GELU x sigmoid(1.702 x). */
tensor *op_activation(graph *g, tensor *x, activation act);

/* y A = a + b, equal shapes. */
tensor *op_add(graph *g, tensor *a, tensor *b);

/* y [N,H,W,C] A = x + v [N,C] A, the same vector at every position. */
tensor *op_add_spatial(graph *g, tensor *x, tensor *v);

/* y [N,C] A = scale * sum of x [N,H,W,C] over positions. (scale = 1/(HW): global average.) No gradient: it serves as
 * add_spatial's. */
tensor *op_sum_spatial(graph *g, tensor *x, float scale);

/* y [..,Ca+Cb] A = a then b along the last dimension. */
tensor *op_concat(graph *g, tensor *a, tensor *b);

/* y [..,length] A = channels [from, from + length) of x. No gradient of its own: it serves as concat's. */
tensor *op_slice(graph *g, tensor *x, int64_t from, int64_t length);

/* y [N,height,width,C] A: y[i,j] = x[floor(i * H / height), floor(j * W / width)]; height >= H, width >= W. */
tensor *op_upsample(graph *g, tensor *x, int64_t height, int64_t width);

/* y [N,width] A from timesteps t [N] E (an input): half = width / 2, freq_i = exp(-ln(10000) i / (half - freq_shift));
 * sin(t freq) then cos(t freq), or cos first where flip_sin_to_cos. width is even. No gradient.
 * Source: diffusers get_timestep_embedding. */
tensor *op_timestep_embedding(graph *g, tensor *t, int64_t width, bool flip_sin_to_cos, float freq_shift);

/* y [N,T,D] A = table[ids[n,t]] + position[t]; ids [N,T] I32, not negative (checked by the caller, asserted by
 * kernels); table [rows,D], position [>= T, D] weights; position may be NULL. An id beyond the table counts as a row of
 * zeros: what stands there comes from op_add_rows. No gradient: the table is frozen. */
tensor *op_embedding(graph *g, tensor *ids, tensor *table, tensor *position);

/* y [N,T,D] A = x[n,t] + rows[ids[n,t] - from] where that is one of the rows, x[n,t] elsewhere; x [N,T,D] A, ids [N,T]
 * I32; rows [R,D] a param: textual inversion. drows E sums dy over the tokens that have the row's id. */
tensor *op_add_rows(graph *g, tensor *x, tensor *ids, tensor *rows, int64_t from);

/* y [N,C] A = x[n, index[n], :]; x [N,T,C] A, index [N] I32. dx[n,t] = dy[n] where t is index[n], 0 elsewhere. */
tensor *op_select_rows(graph *g, tensor *x, tensor *index);

/* scalar E = mean((x - target)^2); x A, target A or E of the same shape (asking for its gradient is an error). */
tensor *op_mse(graph *g, tensor *x, tensor *target);

/* scalar E = mean(2 c (sqrt((x - target)^2 + c^2) - c)): nearly (x - target)^2 where that is small beside c^2, and a
 * line of slope 2 c far beyond. x A, target A or E of the same shape, c > 0 a scalar E (asking for the gradient of
 * either is an error). Source: sd-scripts' pseudo-Huber loss. */
tensor *op_huber(graph *g, tensor *x, tensor *target, tensor *c);

#endif
