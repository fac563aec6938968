// The program of the process that has the user sign in.
void import('./user-sign-in.ts').then(({ performSignIn, runSignInHelper }) =>
  runSignInHelper(performSignIn),
);
