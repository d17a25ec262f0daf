;; What the benchmarks run: each export does a fixed amount of work.
(module
  (memory (export "memory") 4)
  (func (export "loop") (param i32) (result i64)
    (local $a i64)
    (loop $l
      (local.set $a (i64.add (i64.mul (local.get $a) (i64.const 31)) (i64.extend_i32_u (local.get 0))))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $a))
  (func $fib (export "fib") (param i32) (result i64)
    (if (result i64) (i32.lt_u (local.get 0) (i32.const 2))
      (then (i64.extend_i32_u (local.get 0)))
      (else (i64.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  ;; Multiplies two matrices of n by n.
  (func (export "matrix") (param $n i32) (result i64)
    (local $i i32) (local $j i32) (local $k i32) (local $sum i64)
    (loop $rows
      (local.set $j (i32.const 0))
      (loop $columns
        (local.set $k (i32.const 0))
        (local.set $sum (i64.const 0))
        (loop $dot
          (local.set $sum (i64.add (local.get $sum)
            (i64.mul
              (i64.load (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $k)) (i32.const 3)))
              (i64.load offset=65536 (i32.shl (i32.add (i32.mul (local.get $k) (local.get $n)) (local.get $j)) (i32.const 3))))))
          (br_if $dot (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (local.get $n))))
        (i64.store offset=131072 (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $j)) (i32.const 3)) (local.get $sum))
        (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
      (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $sum))
  ;; Counts the letters of a text by a table, with branches.
  (func (export "text") (param $n i32) (result i64)
    (local $p i32) (local $c i32) (local $words i64) (local $in i32)
    (loop $next
      (local.set $c (i32.load8_u (i32.and (local.get $p) (i32.const 65535))))
      (if (i32.le_u (i32.sub (i32.or (local.get $c) (i32.const 32)) (i32.const 97)) (i32.const 25))
        (then
          (if (i32.eqz (local.get $in))
            (then (local.set $in (i32.const 1)) (local.set $words (i64.add (local.get $words) (i64.const 1))))))
        (else (local.set $in (i32.const 0))))
      (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (local.get $n))))
    (local.get $words))
  ;; Calls a tree of functions, two wide.
  (func $leaf (param i64) (result i64) (i64.xor (i64.rotl (local.get 0) (i64.const 7)) (i64.const 0x9e3779b9)))
  (func $c (param i64) (result i64) (call $leaf (call $leaf (local.get 0))))
  (func $d (param i64) (result i64) (call $c (call $c (local.get 0))))
  (func $e (param i64) (result i64) (call $d (call $d (local.get 0))))
  (func $f (param i64) (result i64) (call $e (call $e (local.get 0))))
  (func $g (param i64) (result i64) (call $f (call $f (local.get 0))))
  (func (export "tree") (param i32) (result i64)
    (call $g (call $g (i64.extend_i32_u (local.get 0)))))
  ;; Goes through a dispatch loop of many short blocks, as Go's functions do.
  (func (export "branches") (param $n i32) (result i64)
    (local $pc i32) (local $a i64)
    (loop $dispatch
      (block $b7 (block $b6 (block $b5 (block $b4 (block $b3 (block $b2 (block $b1 (block $b0
        (br_table $b0 $b1 $b2 $b3 $b4 $b5 $b6 $b7 (local.get $pc)))
        ;; b0
        (local.set $a (i64.add (local.get $a) (i64.const 3)))
        (br_if $b2 (i64.eqz (i64.and (local.get $a) (i64.const 1)))))
        ;; b1
        (local.set $a (i64.rotl (local.get $a) (i64.const 3)))
        (br_if $b3 (i64.eqz (i64.and (local.get $a) (i64.const 2)))))
        ;; b2
        (local.set $a (i64.xor (local.get $a) (i64.const 0x55)))
        (local.set $pc (i32.const 4)) (br $dispatch))
        ;; b3
        (local.set $a (i64.mul (local.get $a) (i64.const 5)))
        (local.set $pc (i32.const 5)) (br $dispatch))
        ;; b4
        (local.set $a (i64.sub (local.get $a) (i64.const 9)))
        (br_if $b6 (i64.eqz (i64.and (local.get $a) (i64.const 4)))))
        ;; b5
        (local.set $a (i64.add (local.get $a) (i64.const 77))))
        ;; b6
        (local.set $a (i64.xor (local.get $a) (i64.shr_u (local.get $a) (i64.const 5)))))
      ;; b7
      (local.set $pc (i32.and (i32.wrap_i64 (local.get $a)) (i32.const 3)))
      (br_if $dispatch (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $a))
)
