const greeting = "こんにちは"; let x: = 1;
