#include "textflag.h"

// func dot4AVX2(out *[4]int32, w *int8, x *int16, stride, n int)
//
// out[j] is the sum of w[i]*x[j*stride+i] over i < n, n a multiple of 16.
TEXT ·dot4AVX2(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), R8
	MOVQ stride+24(FP), CX
	MOVQ n+32(FP), DX
	LEAQ (R8)(CX*2), R9
	LEAQ (R9)(CX*2), R10
	LEAQ (R10)(CX*2), R11
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	XORQ AX, AX

loop:
	VPMOVSXBW (SI)(AX*1), Y4
	VPMADDWD  (R8)(AX*2), Y4, Y5
	VPMADDWD  (R9)(AX*2), Y4, Y6
	VPMADDWD  (R10)(AX*2), Y4, Y7
	VPMADDWD  (R11)(AX*2), Y4, Y8
	VPADDD    Y5, Y0, Y0
	VPADDD    Y6, Y1, Y1
	VPADDD    Y7, Y2, Y2
	VPADDD    Y8, Y3, Y3
	ADDQ      $16, AX
	CMPQ      AX, DX
	JLT       loop

	// Add up within each register: four sums, in the lower and the upper half.
	VPHADDD      Y1, Y0, Y0
	VPHADDD      Y3, Y2, Y2
	VPHADDD      Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VMOVDQU      X0, (DI)
	VZEROUPPER
	RET

// func addAVX2(y, x *float32, by float32, n int)
//
// y[i] += by*x[i] for i < n, n a multiple of 8.
TEXT ·addAVX2(SB), NOSPLIT, $0-32
	MOVQ         y+0(FP), DI
	MOVQ         x+8(FP), SI
	VBROADCASTSS by+16(FP), Y0
	MOVQ         n+24(FP), DX
	XORQ         AX, AX
	MOVQ         DX, CX
	ANDQ         $~31, CX
	JEQ          rest

four:
	VMOVUPS (DI)(AX*4), Y1
	VMOVUPS 32(DI)(AX*4), Y2
	VMOVUPS 64(DI)(AX*4), Y3
	VMOVUPS 96(DI)(AX*4), Y4
	VMULPS  (SI)(AX*4), Y0, Y5
	VMULPS  32(SI)(AX*4), Y0, Y6
	VMULPS  64(SI)(AX*4), Y0, Y7
	VMULPS  96(SI)(AX*4), Y0, Y8
	VADDPS  Y5, Y1, Y1
	VADDPS  Y6, Y2, Y2
	VADDPS  Y7, Y3, Y3
	VADDPS  Y8, Y4, Y4
	VMOVUPS Y1, (DI)(AX*4)
	VMOVUPS Y2, 32(DI)(AX*4)
	VMOVUPS Y3, 64(DI)(AX*4)
	VMOVUPS Y4, 96(DI)(AX*4)
	ADDQ    $32, AX
	CMPQ    AX, CX
	JLT     four

rest:
	CMPQ AX, DX
	JGE  done

one:
	VMOVUPS (DI)(AX*4), Y1
	VMULPS  (SI)(AX*4), Y0, Y5
	VADDPS  Y5, Y1, Y1
	VMOVUPS Y1, (DI)(AX*4)
	ADDQ    $8, AX
	CMPQ    AX, DX
	JLT     one

done:
	VZEROUPPER
	RET

// func mixAVX2(y, rows *float32, idx *int32, by *float32, k, n int)
//
// y[j] += by[i]*rows[idx[i]*n+j] for i < k, in that order, and j < n, a
// multiple of 8; k is not 0. Columns go in blocks that stay in registers.
TEXT ·mixAVX2(SB), NOSPLIT, $0-48
	MOVQ y+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ idx+16(FP), R8
	MOVQ by+24(FP), R9
	MOVQ k+32(FP), CX
	MOVQ n+40(FP), DX
	MOVQ DX, R10
	SHLQ $2, R10

c64:
	CMPQ DX, $64
	JLT  c16
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3
	VMOVUPS 128(DI), Y4
	VMOVUPS 160(DI), Y5
	VMOVUPS 192(DI), Y6
	VMOVUPS 224(DI), Y7
	XORQ AX, AX

c64row:
	MOVLQSX      (R8)(AX*4), BX
	IMULQ        R10, BX
	ADDQ         SI, BX
	VBROADCASTSS (R9)(AX*4), Y8
	VMULPS       (BX), Y8, Y9
	VMULPS       32(BX), Y8, Y10
	VMULPS       64(BX), Y8, Y11
	VMULPS       96(BX), Y8, Y12
	VADDPS       Y9, Y0, Y0
	VADDPS       Y10, Y1, Y1
	VADDPS       Y11, Y2, Y2
	VADDPS       Y12, Y3, Y3
	VMULPS       128(BX), Y8, Y9
	VMULPS       160(BX), Y8, Y10
	VMULPS       192(BX), Y8, Y11
	VMULPS       224(BX), Y8, Y12
	VADDPS       Y9, Y4, Y4
	VADDPS       Y10, Y5, Y5
	VADDPS       Y11, Y6, Y6
	VADDPS       Y12, Y7, Y7
	INCQ         AX
	CMPQ         AX, CX
	JLT          c64row

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ    $256, DI
	ADDQ    $256, SI
	SUBQ    $64, DX
	JMP     c64

c16:
	CMPQ DX, $16
	JLT  c8
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	XORQ AX, AX

c16row:
	MOVLQSX      (R8)(AX*4), BX
	IMULQ        R10, BX
	ADDQ         SI, BX
	VBROADCASTSS (R9)(AX*4), Y8
	VMULPS       (BX), Y8, Y9
	VMULPS       32(BX), Y8, Y10
	VADDPS       Y9, Y0, Y0
	VADDPS       Y10, Y1, Y1
	INCQ         AX
	CMPQ         AX, CX
	JLT          c16row

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ    $64, DI
	ADDQ    $64, SI
	SUBQ    $16, DX
	JMP     c16

c8:
	CMPQ DX, $8
	JLT  end
	VMOVUPS (DI), Y0
	XORQ AX, AX

c8row:
	MOVLQSX      (R8)(AX*4), BX
	IMULQ        R10, BX
	ADDQ         SI, BX
	VBROADCASTSS (R9)(AX*4), Y8
	VMULPS       (BX), Y8, Y9
	VADDPS       Y9, Y0, Y0
	INCQ         AX
	CMPQ         AX, CX
	JLT          c8row

	VMOVUPS Y0, (DI)
	ADDQ    $32, DI
	ADDQ    $32, SI
	SUBQ    $8, DX
	JMP     c8

end:
	VZEROUPPER
	RET

// func dot4VNNI(out *[4]int32, w *int8, x *int16, stride, n int)
//
// dot4AVX2 for n a multiple of 32.
TEXT ·dot4VNNI(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), R8
	MOVQ stride+24(FP), CX
	MOVQ n+32(FP), DX
	LEAQ (R8)(CX*2), R9
	LEAQ (R9)(CX*2), R10
	LEAQ (R10)(CX*2), R11
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	XORQ AX, AX

loop:
	VPMOVSXBW (SI)(AX*1), Z4
	VPDPWSSD  (R8)(AX*2), Z4, Z0
	VPDPWSSD  (R9)(AX*2), Z4, Z1
	VPDPWSSD  (R10)(AX*2), Z4, Z2
	VPDPWSSD  (R11)(AX*2), Z4, Z3
	ADDQ      $32, AX
	CMPQ      AX, DX
	JLT       loop

	// The upper halves onto the lower ones, then as dot4AVX2.
	VEXTRACTI64X4 $1, Z0, Y4
	VEXTRACTI64X4 $1, Z1, Y5
	VEXTRACTI64X4 $1, Z2, Y6
	VEXTRACTI64X4 $1, Z3, Y7
	VPADDD        Y4, Y0, Y0
	VPADDD        Y5, Y1, Y1
	VPADDD        Y6, Y2, Y2
	VPADDD        Y7, Y3, Y3
	VPHADDD       Y1, Y0, Y0
	VPHADDD       Y3, Y2, Y2
	VPHADDD       Y2, Y0, Y0
	VEXTRACTI128  $1, Y0, X1
	VPADDD        X1, X0, X0
	VMOVDQU       X0, (DI)
	VZEROUPPER
	RET
