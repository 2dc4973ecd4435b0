package tinylm

import "math"

// mulT computes c = w · aᵀ for a of m rows and w of n rows, both k wide; c is [n, m]. Two rows of w meet four of a
// at a time, so that every value loaded is used more than once.
// budget: the operands of a matrix product and their sizes, as BLAS has them
func mulT(c, a, w []float32, m, k, n int) {
	j := 0
	for ; j+2 <= n; j += 2 {
		w0, w1 := w[j*k:(j+1)*k], w[(j+1)*k:(j+2)*k]
		c0, c1 := c[j*m:(j+1)*m], c[(j+1)*m:(j+2)*m]
		i := 0
		for ; i+4 <= m; i += 4 {
			dot2x4(c0[i:i+4], c1[i:i+4], w0, w1, a[i*k:(i+4)*k])
		}
		for ; i < m; i++ {
			c0[i], c1[i] = dot(w0, a[i*k:]), dot(w1, a[i*k:])
		}
	}
	for ; j < n; j++ {
		for i := range m {
			c[j*m+i] = dot(w[j*k:(j+1)*k], a[i*k:])
		}
	}
}

func dot2x4(c0, c1, w0, w1, a []float32) {
	k := len(w0)
	w1 = w1[:k]
	a0, a1, a2, a3 := a[:k], a[k:2*k], a[2*k:3*k], a[3*k:4*k]
	a1, a2, a3 = a1[:k], a2[:k], a3[:k]
	var s00, s01, s02, s03, s10, s11, s12, s13 float32
	for i, x := range w0 {
		y := w1[i]
		v := a0[i]
		s00 += x * v
		s10 += y * v
		v = a1[i]
		s01 += x * v
		s11 += y * v
		v = a2[i]
		s02 += x * v
		s12 += y * v
		v = a3[i]
		s03 += x * v
		s13 += y * v
	}
	c0[0], c0[1], c0[2], c0[3] = s00, s01, s02, s03
	c1[0], c1[1], c1[2], c1[3] = s10, s11, s12, s13
}

func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s float32
	for i, v := range a {
		s += v * b[i]
	}
	return s
}

// mulBack adds to da and dw what dc, the gradient of mulT's c, says about a and w. Entries of dc within ±skip are
// left out: almost all of a softmax gradient is next to nothing.
// budget: the operands of a matrix product and their sizes, as BLAS has them
func mulBack(da, dw, dc, a, w []float32, m, k, n int, skip float32) {
	for j := range n {
		wj, dwj := w[j*k:(j+1)*k], dw[j*k:(j+1)*k]
		for i, g := range dc[j*m : (j+1)*m] {
			if g <= skip && g >= -skip {
				continue
			}
			axpy2(da[i*k:(i+1)*k], dwj, wj, a[i*k:(i+1)*k], g)
		}
	}
}

// axpy2 adds g·w to da and g·a to dw.
func axpy2(da, dw, w, a []float32, g float32) {
	n := len(w)
	da, dw, a = da[:n], dw[:n], a[:n]
	for i, v := range w {
		da[i] += g * v
		dw[i] += g * a[i]
	}
}

func add(dst, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] += v
	}
}

func mul(dst, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] *= v
	}
}

func tanhAll(x []float32) {
	for i, v := range x {
		x[i] = float32(math.Tanh(float64(v)))
	}
}

// transpose writes src [rows, cols] as dst [cols, rows].
func transpose(dst, src []float32, rows, cols int) {
	for r := range rows {
		for c := range cols {
			dst[c*rows+r] = src[r*cols+c]
		}
	}
}
