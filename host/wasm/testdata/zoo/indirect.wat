;; Two functions that call each other through a table, twice each: the cycle
;; stands in no function's text.
;; Attacks: fuel at function entries, however they are reached.
(module
  ;;common
  (type $node (func (param i64 i32)))
  (memory (export "memory") 1)
  (table 2 2 funcref)
  (elem (i32.const 0) $even $odd)
  (func $even (type $node)
    (if (i32.or (i64.eq (local.get 0) (i64.const 1)) (i32.gt_u (local.get 1) (i32.const 45))) (then (return)))
    (call_indirect (type $node) (i64.shr_u (local.get 0) (i64.const 1)) (i32.add (local.get 1) (i32.const 1)) (i32.const 1))
    (call_indirect (type $node) (i64.shr_u (local.get 0) (i64.const 1)) (i32.add (local.get 1) (i32.const 1)) (i32.const 1)))
  (func $odd (type $node)
    (if (i32.or (i64.eq (local.get 0) (i64.const 1)) (i32.gt_u (local.get 1) (i32.const 45))) (then (return)))
    (call_indirect (type $node) (i64.shr_u (local.get 0) (i64.const 1)) (i32.add (local.get 1) (i32.const 1)) (i32.const 0))
    (call_indirect (type $node) (i64.shr_u (local.get 0) (i64.const 1)) (i32.add (local.get 1) (i32.const 1)) (i32.const 0)))
  (func $attack (param $left i64) (result i32)
    (call_indirect (type $node) (local.get $left) (i32.const 0) (i32.const 0))
    (i32.const 4)))
