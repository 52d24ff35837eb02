using a = { [Symbol.dispose]() {} };
export default a;
