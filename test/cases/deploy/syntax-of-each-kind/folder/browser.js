(function () { window.x = 1 })();
