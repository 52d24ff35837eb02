type Event = { numbers: number[] };

export const handler = async ({ numbers }: Event) => numbers.reduce((sum: number, each: number): number => sum + each, 0);
