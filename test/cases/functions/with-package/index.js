import isNumber from 'is-number';

export const handler = (event) => isNumber(event);
