;; Grows its memory to the cap in every call and writes to each new page. It
;; answers 1 if it began with one page and 2 if an earlier call's are there.
;; Attacks: the cap of the memory; an instance that grew is not used again.
(module
  ;;common
  (memory (export "memory") 1 65536)
  (func $attack (param $left i64) (result i32)
    (local $page i32)
    (i32.store8 (i32.const 256) (i32.add (i32.const 49) (i32.gt_u (memory.size) (i32.const 1))))
    (block $full
      (loop $more
        (br_if $full (i32.eq (local.tee $page (memory.grow (i32.const 1))) (i32.const -1)))
        (i64.store (i32.mul (local.get $page) (i32.const 65536)) (i64.const -1))
        (br $more)))
    (call $answer (i32.const 256) (i32.const 1))))
